//! How a password is proved to the server. No I/O.
//!
//! "Caching SHA-2 pluggable authentication" and "Native pluggable authentication" of the MySQL manual; the bytes are in the
//! server's own documentation of its protocol (`page_caching_sha2_authentication_exchanges`).

use rsa::pkcs8::DecodePublicKey;
use rsa::traits::PublicKeyParts;
use rsa::{Oaep, PublicKey};
use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::error::Error;

/// What the server says behind a proof: it has the password's digest in its cache, and the proof is right.
pub(super) const KNOWN: u8 = 3;
/// It has not, and wants the password.
pub(super) const UNKNOWN: u8 = 4;
/// Asks for the server's key.
pub(super) const SEND_KEY: u8 = 2;

/// Sizes of a key, in bits: what servers make, and what does not take the loop for long.
const KEY_BITS: std::ops::RangeInclusive<u32> = 512..=4096;

/// A way to prove a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// MariaDB, and MySQL before 8.
    NativePassword,
    /// MySQL since 8; the only one of 9.
    CachingSha2,
}

impl Login {
    pub(super) fn by_name(plugin: &[u8]) -> Option<Login> {
        [Login::NativePassword, Login::CachingSha2]
            .into_iter()
            .find(|login| login.name().as_bytes() == plugin)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Login::NativePassword => "mysql_native_password",
            Login::CachingSha2 => "caching_sha2_password",
        }
    }

    /// The password's digest under a mask that only its digest's digest and the salt give. Nothing for no password.
    pub(super) fn proof(self, password: &str, salt: &[u8]) -> Vec<u8> {
        match self {
            _ if password.is_empty() => Vec::new(),
            Login::NativePassword => {
                let one = Sha1::digest(password);
                let mask = Sha1::new().chain_update(salt).chain_update(Sha1::digest(one)).finalize();
                masked(&one, &mask)
            }
            Login::CachingSha2 => {
                let one = Sha256::digest(password);
                let mask = Sha256::new().chain_update(Sha256::digest(one)).chain_update(salt).finalize();
                masked(&one, &mask)
            }
        }
    }
}

fn masked(bytes: &[u8], mask: &[u8]) -> Vec<u8> {
    bytes.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect()
}

/// The password for whoever has the other half of the key: under the salt, so that it is another text each time.
pub(super) fn encrypted(password: &str, salt: &[u8], key: &PublicKey) -> Result<Vec<u8>, Error> {
    let ended = [password.as_bytes(), b"\0"].concat();
    let mask: Vec<u8> = salt.iter().copied().cycle().take(ended.len()).collect();
    key.encrypt(
        &mut rsa::rand_core::UnwrapErr(getrandom::SysRng),
        Oaep::<Sha1>::new(),
        &masked(&ended, &mask),
    )
    .map_err(|_| Error::Unexpected("the password is longer than the server's key can encrypt"))
}

/// A key from its PEM text.
pub(super) fn key(pem: &str) -> Result<PublicKey, &'static str> {
    // The server ends its file with a zero.
    let pem = pem.trim_end_matches('\0').trim();
    let key = PublicKey::from_public_key_pem(pem).map_err(|_| "it is no RSA key in PEM")?;
    match KEY_BITS.contains(&(8 * key.size() as u32)) {
        true => Ok(key),
        false => Err("it has less than 512 or more than 4,096 bits"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of go-sql-driver/mysql (auth_test.go), which come from a server.
    #[test]
    fn proofs_are_those_that_servers_take() {
        let salt = [10, 47, 74, 111, 75, 73, 34, 48, 88, 76, 114, 74, 37, 13, 3, 80, 82, 2, 23, 21];
        for (password, proof) in [
            ("secret", "f490e76f66d9d86665ce54d98c78d0acfe2fb0b08b423da807144873d30b312c"),
            ("secret2", "abc3934a012cf342e876071c8ee202de51785b430258a7a0138bc79c4d800bc6"),
        ] {
            let made: String =
                Login::CachingSha2.proof(password, &salt).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(made, proof);
        }
        assert!(Login::CachingSha2.proof("", &salt).is_empty());
        assert_eq!(Login::by_name(b"sha256_password"), None);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            assert_eq!(key(text).unwrap_err(), "it is no RSA key in PEM");
        }
    }
}
