//! The lock inside the locks: held for a few instructions, never over a wait.
//!
//! A fiber cannot park for it (it is what parking is made of), and a futex would put the whole loop to sleep. Who finds
//! it held spins, and after a while gives the processor away: with more threads than processors the holder may not be
//! running at all.

use spin::mutex::SpinMutexGuard;

/// How often to look before giving the processor away; some hundred nanoseconds.
const SPINS: u32 = 64;

#[derive(Debug, Default)]
pub(crate) struct Lock<T>(spin::mutex::SpinMutex<T>);

impl<T> Lock<T> {
    pub(crate) const fn new(data: T) -> Lock<T> {
        Lock(spin::mutex::SpinMutex::new(data))
    }

    #[inline]
    pub(crate) fn lock(&self) -> SpinMutexGuard<'_, T> {
        match self.0.try_lock() {
            Some(guard) => guard,
            None => self.lock_contended(),
        }
    }

    #[cold]
    fn lock_contended(&self) -> SpinMutexGuard<'_, T> {
        let mut spins = 0;
        loop {
            while self.0.is_locked() {
                spins += 1;
                if spins % SPINS == 0 {
                    std::thread::yield_now();
                } else {
                    std::hint::spin_loop();
                }
            }
            if let Some(guard) = self.0.try_lock() {
                return guard;
            }
        }
    }
}
