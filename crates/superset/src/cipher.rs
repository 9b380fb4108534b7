//! How Superset encrypts secrets in its database: AES-256-CBC by sqlalchemy-utils' `AesEngine`.
//!
//! The key is SHA-256 of SECRET_KEY, the initialisation vector its first 16 bytes, the padding 1 to 16 asterisks,
//! and the result is stored as base64. It is deterministic, so equal ciphertexts mean equal secrets.

use std::fmt;

use aes::Aes256;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const BLOCK: usize = 16;
const PADDING: u8 = b'*';

/// Why a secret cannot be encrypted or decrypted. It never shows the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CipherFault {
    /// Superset strips trailing asterisks, so such a secret could not be read back.
    #[error("the secret ends with `*`, which Superset cuts off when it reads it; choose another secret")]
    EndsWithPadding,
    /// What stands in the database was not encrypted with this key, or not by this engine.
    #[error(
        "a secret in Superset's database cannot be decrypted; give the SECRET_KEY that this Superset runs with"
    )]
    WrongKey,
}

/// Encrypts and decrypts with one SECRET_KEY. `Debug` never shows it.
#[derive(Clone)]
pub struct Cipher {
    key: [u8; 32],
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher(…)")
    }
}

impl Cipher {
    /// Makes a cipher from Superset's SECRET_KEY.
    #[must_use]
    pub fn new(secret_key: &str) -> Cipher {
        Cipher { key: Sha256::digest(secret_key.as_bytes()).into() }
    }

    /// Encrypts a secret into the bytes of the column: base64 as ASCII.
    ///
    /// # Errors
    /// A secret that ends with an asterisk.
    pub fn encrypt(&self, secret: &str) -> Result<Vec<u8>, CipherFault> {
        if secret.ends_with(char::from(PADDING)) {
            return Err(CipherFault::EndsWithPadding);
        }
        let mut bytes = secret.as_bytes().to_vec();
        bytes.resize((bytes.len() / BLOCK + 1) * BLOCK, PADDING);
        let encryptor = cbc::Encryptor::<Aes256>::new(&self.key.into(), &self.vector());
        let ciphertext = encryptor.encrypt_padded_vec::<NoPadding>(&bytes);
        Ok(STANDARD.encode(ciphertext).into_bytes())
    }

    /// Decrypts the bytes of a column.
    ///
    /// # Errors
    /// [`CipherFault::WrongKey`] when the result is not padded text.
    pub fn decrypt(&self, column: &[u8]) -> Result<String, CipherFault> {
        let ciphertext = STANDARD.decode(column).map_err(|_| CipherFault::WrongKey)?;
        let decryptor = cbc::Decryptor::<Aes256>::new(&self.key.into(), &self.vector());
        let padded =
            decryptor.decrypt_padded_vec::<NoPadding>(&ciphertext).map_err(|_| CipherFault::WrongKey)?;
        let text = String::from_utf8(padded).map_err(|_| CipherFault::WrongKey)?;
        let secret = text.trim_end_matches(char::from(PADDING));
        // The padding is never absent, so that a wrong key is noticed even where its garbage is UTF-8.
        if secret.len() == text.len() { Err(CipherFault::WrongKey) } else { Ok(secret.to_owned()) }
    }

    fn vector(&self) -> cbc::cipher::Iv<cbc::Encryptor<Aes256>> {
        let mut vector = [0; BLOCK];
        vector.copy_from_slice(&self.key[..BLOCK]);
        vector.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAB: &str = "lab-secret-key-0123456789abcdefghijklmnop";

    fn check(key: &str, secret: &str, column: &str) {
        let cipher = Cipher::new(key);
        let encrypted = cipher.encrypt(secret).unwrap();
        assert_eq!(String::from_utf8(encrypted.clone()).unwrap(), column);
        assert_eq!(cipher.decrypt(&encrypted).unwrap(), secret);
    }

    #[test]
    fn encryption_gives_the_bytes_that_superset_gives() {
        check("thisISaSECRET_1234", "pw1", "cmS9mJmuf2rTi/wjD4t2sg==");
        check(
            LAB,
            "s3cr3t-пароль-🔑 exactly",
            "zy2QfU7c+RE1s8ASYWLM4hJpeJ9LUE1ZIh7AH4w6MrgXqhgzwE/FcODJ99lAI8V8",
        );
        check(LAB, "pw1", "SkpJcSr4k4qr+3T/dZgnuA==");
        check("k", "0123456789abcdef", "jTNZV+lwGoomJy0h72myNaaJgkqWlmmhxzKpdzhB3Zk=");
        check("k", "", "OQfx3A45LDjwQlkbm3F9Iw==");
    }

    #[test]
    fn a_secret_that_superset_would_cut_is_refused() {
        assert_eq!(Cipher::new("k").encrypt("pass*"), Err(CipherFault::EndsWithPadding));
    }

    #[test]
    fn another_key_is_noticed() {
        let encrypted = Cipher::new("k").encrypt("pw1").unwrap();
        for wrong in 0..1000 {
            let cipher = Cipher::new(&format!("wrong {wrong}"));
            assert_eq!(cipher.decrypt(&encrypted), Err(CipherFault::WrongKey));
        }
        assert_eq!(Cipher::new("k").decrypt(b"not base64!"), Err(CipherFault::WrongKey));
        assert_eq!(Cipher::new("k").decrypt(b"c2hvcnQ="), Err(CipherFault::WrongKey));
    }

    #[test]
    fn neither_key_nor_secret_is_shown() {
        assert_eq!(format!("{:?} {:?}", Cipher::new("k"), crate::Secret::new("s")), "Cipher(…) Secret(…)");
    }
}
