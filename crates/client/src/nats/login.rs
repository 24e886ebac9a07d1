//! `Login`: where a server is, and who comes.

use serde_json::json;

use crate::address::Address;
use crate::error::Error;

/// Where a server is, and who comes.
#[derive(Clone)]
pub struct Login {
    pub(super) address: Address,
    user: Option<String>,
    /// A password, or a token where there is no user.
    secret: Option<String>,
}

impl Login {
    /// From `nats://[[user]:password@]host[:port]`, or `nats://token@host`; the port is 4222 unless said. What follows a `?` is
    /// the caller's.
    ///
    /// ```
    /// use tenfold_client::nats::Login;
    /// assert!(Login::parse("nats://ann:secret@db:4300").is_ok());
    /// assert!(Login::parse("nats://").is_err() && Login::parse("nats://db:x").is_err());
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidUrl`].
    pub fn parse(url: &str) -> Result<Login, Error> {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest).trim_end_matches('/');
        let (credentials, address) = match rest.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials), address),
            None => (None, rest),
        };
        let (user, secret) = match credentials.map(|text| text.split_once(':').ok_or(text)) {
            Some(Ok((user, password))) => (Some(user.to_owned()), Some(password.to_owned())),
            Some(Err(token)) => (None, Some(token.to_owned())),
            None => (None, None),
        };
        Ok(Login { address: Address::parse(address, 4222)?, user, secret })
    }

    /// The words of CONNECT.
    pub(super) fn words(&self) -> String {
        let mut words = json!({
            "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "protocol": 1,
            "name": "tenfold", "lang": "rust", "version": env!("CARGO_PKG_VERSION"),
        });
        match (&self.user, &self.secret) {
            (Some(user), secret) => (words["user"], words["pass"]) = (json!(user), json!(secret)),
            (None, Some(token)) => words["auth_token"] = json!(token),
            (None, None) => {}
        }
        words.to_string()
    }
}

/// Without the secret.
impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("address", &self.address)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_a_port_and_somebody_who_comes() {
        let login = Login::parse("nats://ann:secret@db:4300").unwrap();
        assert_eq!(login.address, Address { host: "db".into(), port: 4300 });
        assert_eq!((login.user.as_deref(), login.secret.as_deref()), (Some("ann"), Some("secret")));
        let login = Login::parse("nats://token@[::1]?stream_mib=1").unwrap();
        assert_eq!(login.address, Address { host: "::1".into(), port: 4222 });
        assert_eq!((login.user.as_deref(), login.secret.as_deref()), (None, Some("token")));
        assert!(!format!("{login:?}").contains("token"));
    }
}
