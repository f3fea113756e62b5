//! Hashes, as hexadecimal text.

use super::encode::hex;
use super::{Call, Function, Group};
use crate::expression::{Done, Fail, Value};
use hmac::{Hmac, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

pub(super) const GROUP: Group = Group {
    name: "Hashes",
    words: "Of bytes or a text, as hexadecimal text in small letters. MD5, SHA-1 and CRC-32 recognise accidents, not attackers.",
    functions: FUNCTIONS,
};

/// A hash of one argument.
macro_rules! hash {
    ($name:literal, $words:literal, $result:literal, $digest:ty) => {
        Function::new(
            $name,
            (1, 1),
            concat!($name, "(x) -> string"),
            $words,
            (concat!($name, "('abc')"), $result),
            |c| c.built(hex(&<$digest>::digest(hashed(c, 0)?))),
        )
    };
}

const FUNCTIONS: &[Function] = &[
    hash!(
        "md5",
        "MD5, for old systems.",
        r#""900150983cd24fb0d6963f7d28e17f72""#,
        Md5
    ),
    hash!(
        "sha1",
        "SHA-1, for old systems.",
        r#""a9993e364706816aba3e25717850c26c9cd0d89d""#,
        Sha1
    )
    .also("sha"),
    hash!(
        "sha256",
        "SHA-256.",
        r#""ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad""#,
        Sha256
    ),
    hash!(
        "sha384",
        "SHA-384.",
        r#""cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7""#,
        Sha384
    ),
    hash!(
        "sha512",
        "SHA-512.",
        r#""ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f""#,
        Sha512
    ),
    Function::new(
        "crc32",
        (1, 1),
        "crc32(x) -> string",
        "CRC-32 (IEEE).",
        ("crc32('abc')", r#""352441c2""#),
        |c| c.built(format!("{:08x}", crc32fast::hash(hashed(c, 0)?))),
    ),
    Function::new(
        "hmac",
        (3, 3),
        "hmac(algorithm, key, x) -> string",
        "HMAC with `'sha1'`, `'sha256'`, `'sha384'` or `'sha512'`.",
        (
            "hmac('sha256', 'key', 'abc').substring(0, 16)",
            r#""9c196e32dc0175f8""#,
        ),
        hmac,
    ),
];

/// Hashing a byte costs more than looking at it.
fn hashed<'c>(c: &'c Call<'_, '_>, at: usize) -> Done<&'c [u8]> {
    let bytes = c.bytes(at)?;
    c.budget.spend(bytes.len() / 16)?;
    Ok(bytes)
}

fn hmac<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    fn keyed<M: Mac + hmac::digest::KeyInit>(key: &[u8], data: &[u8]) -> Option<String> {
        // Every length of a key is one for HMAC.
        let mut mac = <M as Mac>::new_from_slice(key).ok()?;
        mac.update(data);
        Some(hex(&mac.finalize().into_bytes()))
    }
    let (algorithm, key, data) = (c.text(0)?, hashed(c, 1)?, hashed(c, 2)?);
    let made = match algorithm {
        "sha1" => keyed::<Hmac<Sha1>>(key, data),
        "sha256" => keyed::<Hmac<Sha256>>(key, data),
        "sha384" => keyed::<Hmac<Sha384>>(key, data),
        "sha512" => keyed::<Hmac<Sha512>>(key, data),
        _ => return Err(c.not(0, "'sha1', 'sha256', 'sha384' or 'sha512'")),
    };
    c.built(made.ok_or_else(|| Fail::wrong("the key cannot be used"))?)
}
