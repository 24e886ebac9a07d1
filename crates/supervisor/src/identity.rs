//! `Identity`: the user and the group that workers run as, found by name in the master and taken on in the worker.

use crate::{error::Error, sys};

/// A user id, a group id, and the user's further groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub(crate) user: u32,
    pub(crate) group: u32,
    pub(crate) groups: Vec<u32>,
}

impl Identity {
    /// Finds them; each is a name or a number. Without a group it is the user's own.
    ///
    /// `None` when neither is given. Whoever is not root can only stay who it is.
    ///
    /// # Errors
    /// [`Error::Identity`] when one is not known, or when this process may not become it.
    pub fn find(user: Option<&str>, group: Option<&str>) -> Result<Option<Self>, Error> {
        if user.is_none() && group.is_none() {
            return Ok(None);
        }
        let wrong = |name: &str, reason: &'static str| Error::Identity { name: name.to_owned(), reason };
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let (id, user_group, name) = match user {
            None => (own.0, own.1, None),
            Some(name) => match (name.parse(), sys::user(name)) {
                (_, Some((id, group))) => (id, group, Some(name)),
                (Ok(id), None) => (id, id, None),
                (Err(_), None) => return Err(wrong(name, "there is no such user")),
            },
        };
        let group_id = match group {
            None => user_group,
            Some(name) => name
                .parse()
                .ok()
                .or_else(|| sys::group(name))
                .ok_or_else(|| wrong(name, "there is no such group"))?,
        };
        let groups = name.map_or_else(|| vec![group_id], |name| sys::groups_of(name, group_id));
        if own.0 != 0 && (id, group_id) != own {
            return Err(wrong(user.or(group).unwrap_or_default(), "only root can change to another user"));
        }
        Ok(Some(Self { user: id, group: group_id, groups }))
    }

    /// The user's number.
    pub fn user(&self) -> u32 {
        self.user
    }

    /// The group's number.
    pub fn group(&self) -> u32 {
        self.group
    }
}
