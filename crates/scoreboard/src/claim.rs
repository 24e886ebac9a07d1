//! `Claim`: the right of one request after another to an account of this process's slot.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::account::Account;

/// What was given back, and how many of the slot's own were ever given out: those beyond have never been touched.
struct Free {
    /// Changes with the slot: what belongs to an earlier one is not given out again.
    epoch: u32,
    next: usize,
    accounts: Vec<&'static Account>,
}

static FREE: Mutex<Free> = Mutex::new(Free { epoch: 0, next: 0, accounts: Vec::new() });

/// An account for as long as this value lives. Keep it over many requests: claiming takes a lock.
///
/// When all accounts of the slot are claimed this is a private one: the request's times count, but nobody can see it in
/// flight.
pub struct Claim {
    account: &'static Account,
    epoch: u32,
}

impl Claim {
    /// Claims an account of [`crate::current`]'s slot. Cost: a lock, and an allocation beyond
    /// [`crate::ACCOUNTS_PER_SLOT`] at a time, which is kept for later claims.
    pub fn take() -> Claim {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let account = free.accounts.pop().unwrap_or_else(|| {
            let own = crate::current().account(free.next);
            free.next += 1;
            own.unwrap_or_else(|| Box::leak(Box::default()))
        });
        Claim { account, epoch: free.epoch }
    }

    /// The account.
    #[inline]
    pub fn account(&self) -> &'static Account {
        self.account
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.account.is_in_flight() {
            self.account.discard();
        }
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        if free.epoch == self.epoch {
            free.accounts.push(self.account);
        }
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").finish_non_exhaustive()
    }
}

/// The process has another slot from now on.
pub(crate) fn start_over() {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    free.epoch = free.epoch.wrapping_add(1);
    free.next = 0;
    free.accounts = Vec::new();
}
