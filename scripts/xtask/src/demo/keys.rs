//! Keys for secure boot, made by openssl on the host, and signed values of the variables that hold
//! such keys (UEFI 2.10, 8.2.2 and 32.4).
//!
//! A signed value begins with a time and a signature in PKCS #7 over name, namespace, attributes,
//! time and contents of the variable. The contents are a list of signatures: here one certificate.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::output;

/// Namespaces of variables, types of lists and of signatures, and the owner of the keys, in the
/// order of bytes that UEFI uses.
const GLOBAL: Guid = guid(0x8be4_df61, 0x93ca, 0x11d2, 0xaa0d_00e0_9803_2b8c);
const DATABASE: Guid = guid(0xd719_b2cb, 0x3d3a, 0x4596, 0xa3bc_dad0_0e67_656f);
const X509: Guid = guid(0xa5c0_59a1, 0x94e4, 0x4aa7, 0x87b5_ab15_5c2b_f072);
const PKCS7: Guid = guid(0x4aaf_d29d, 0x68df, 0x49ee, 0x8aa9_347d_3756_65a7);
const OWNER: Guid = guid(0x5c0e_1b6c, 0x3d5f, 0x4b3e, 0x9a77_0f6f_1d2c_8e94);

type Guid = [u8; 16];

/// Non-volatile, accessible at boot and at run time, and signed with a time.
const ATTRIBUTES: u32 = 0x27;
/// Revision and type of the header in front of a signature in a form that a GUID names.
const CERTIFICATE_REVISION: u16 = 0x200;
const CERTIFICATE_TYPE: u16 = 0xef1;

/// The variables. The contents of one are the certificate of the key that may sign the next one.
const PK: Variable = Variable {
    name: "PK",
    namespace: GLOBAL,
};
const KEK: Variable = Variable {
    name: "KEK",
    namespace: GLOBAL,
};
const DB: Variable = Variable {
    name: "db",
    namespace: DATABASE,
};

/// The names of the keys: those of the three variables, another one for the last variable, and one
/// that nobody trusts.
const KEYS: [&str; 5] = ["PK", "KEK", "db", "db-next", "stranger"];

struct Variable {
    name: &'static str,
    namespace: Guid,
}

/// Makes new keys in a folder.
pub fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for name in KEYS {
        let key = Key::of(folder, name);
        output(
            Command::new("openssl")
                .args(["req", "-x509", "-newkey", "rsa:2048", "-sha256", "-nodes"])
                .args(["-days", "3650", "-subj", &format!("/CN=demo {name}")])
                .arg("-keyout")
                .arg(&key.private)
                .arg("-out")
                .arg(&key.certificate),
        )?;
    }
    Ok(())
}

/// Returns what Linux writes to variables, and what it then reads, made with the keys in a folder:
/// pairs of a file's name and its contents. A name that ends in `.auth` is that of a signed value
/// with the attributes in front, a name in `.esl` that of contents.
pub fn values(folder: &Path) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let [pk, kek, db, next, stranger] = KEYS.map(|name| Key::of(folder, name));
    let [pk_list, kek_list] = [pk.list()?, kek.list()?];
    let [db_list, next_list, stranger_list] = [db.list()?, next.list()?, stranger.list()?];
    let mut changed = DB.signed(3, &next_list, &kek)?;
    if let Some(last) = changed.last_mut() {
        *last ^= 1;
    }
    Ok(vec![
        ("db.auth", DB.signed(1, &db_list, &kek)?),
        ("KEK.auth", KEK.signed(1, &kek_list, &pk)?),
        ("PK.auth", PK.signed(1, &pk_list, &pk)?),
        ("db-next.auth", DB.signed(2, &next_list, &kek)?),
        ("db-stranger.auth", DB.signed(3, &stranger_list, &stranger)?),
        ("db-changed.auth", changed),
        (
            "KEK-stranger.auth",
            KEK.signed(3, &stranger_list, &stranger)?,
        ),
        ("PK-stranger.auth", PK.signed(3, &stranger_list, &stranger)?),
        ("PK-gone.auth", PK.signed(2, &[], &pk)?),
        ("PK.esl", pk_list),
        ("KEK.esl", kek_list),
        ("db.esl", db_list),
        ("db-next.esl", next_list),
    ])
}

/// A key and its certificate, in PEM.
struct Key {
    private: PathBuf,
    certificate: PathBuf,
}

impl Key {
    fn of(folder: &Path, name: &str) -> Self {
        Self {
            private: folder.join(format!("{name}.key")),
            certificate: folder.join(format!("{name}.pem")),
        }
    }

    /// Returns a list of signatures with the certificate alone.
    fn list(&self) -> Result<Vec<u8>> {
        let mut command = Command::new("openssl");
        command
            .args(["x509", "-outform", "DER", "-in"])
            .arg(&self.certificate);
        Ok(list(&self.made(command)?))
    }

    /// Returns the signature of bytes, which are not in it.
    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let message = self.private.with_extension("message");
        fs::write(&message, bytes).with_context(|| message.display().to_string())?;
        let mut command = Command::new("openssl");
        command
            .args(["smime", "-sign", "-binary", "-noattr", "-md", "sha256"])
            .args(["-outform", "DER", "-signer"])
            .arg(&self.certificate)
            .arg("-inkey")
            .arg(&self.private)
            .arg("-in")
            .arg(&message);
        self.made(command)
    }

    /// Returns what a command of openssl writes.
    fn made(&self, mut command: Command) -> Result<Vec<u8>> {
        let path = self.private.with_extension("der");
        output(command.arg("-out").arg(&path))?;
        fs::read(&path).with_context(|| path.display().to_string())
    }
}

impl Variable {
    /// Returns the attributes and a value that the key signs at a time, in days of some month.
    fn signed(&self, day: u8, contents: &[u8], key: &Key) -> Result<Vec<u8>> {
        let time = time(day);
        let signature = key.sign(&self.message(&time, contents))?;
        Ok([
            &ATTRIBUTES.to_le_bytes(),
            &*value(&time, &signature, contents),
        ]
        .concat())
    }

    /// Returns the bytes that a signature covers.
    fn message(&self, time: &[u8; 16], contents: &[u8]) -> Vec<u8> {
        let name: Vec<u8> = self
            .name
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        [
            &*name,
            &self.namespace,
            &ATTRIBUTES.to_le_bytes(),
            time,
            contents,
        ]
        .concat()
    }
}

/// Returns a value with its signature.
fn value(time: &[u8; 16], signature: &[u8], contents: &[u8]) -> Vec<u8> {
    let length = (24 + signature.len()) as u32;
    [
        &time[..],
        &length.to_le_bytes(),
        &CERTIFICATE_REVISION.to_le_bytes(),
        &CERTIFICATE_TYPE.to_le_bytes(),
        &PKCS7,
        signature,
        contents,
    ]
    .concat()
}

/// Returns a list of one certificate in DER.
fn list(certificate: &[u8]) -> Vec<u8> {
    let signature = (16 + certificate.len()) as u32;
    let sizes = [28 + signature, 0, signature];
    let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
    [&X509[..], &sizes, &OWNER, certificate].concat()
}

/// Returns midnight of a day in January 2026.
fn time(day: u8) -> [u8; 16] {
    let [low, high] = 2026_u16.to_le_bytes();
    let mut time = [0; 16];
    time[..4].copy_from_slice(&[low, high, 1, day]);
    time
}

/// Returns the bytes of a GUID, whose first three fields are little-endian.
const fn guid(first: u32, second: u16, third: u16, rest: u64) -> Guid {
    let [a, b, c, d] = first.to_le_bytes();
    let [e, f] = second.to_le_bytes();
    let [g, h] = third.to_le_bytes();
    let [i, j, k, l, m, n, o, p] = rest.to_be_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

#[cfg(test)]
mod tests {
    use super::*;

    // The bytes of the descriptors as the specification gives their fields.
    #[test]
    fn a_list_and_a_value_have_the_lengths_that_they_state() {
        let list = list(&[7; 100]);
        assert_eq!(&list[..4], [0xa1, 0x59, 0xc0, 0xa5]);
        assert_eq!(&list[16..28], [144, 0, 0, 0, 0, 0, 0, 0, 116, 0, 0, 0]);
        assert_eq!(list.len(), 144);

        let value = value(&time(9), &[1; 10], &[2; 3]);
        assert_eq!(&value[..8], [0xea, 7, 1, 9, 0, 0, 0, 0]);
        assert_eq!(&value[16..24], [34, 0, 0, 0, 0, 2, 0xf1, 0x0e]);
        assert_eq!(&value[24..28], [0x9d, 0xd2, 0xaf, 0x4a]);
        assert_eq!(value.len(), 16 + 34 + 3);
    }

    #[test]
    fn a_signature_covers_name_namespace_attributes_time_and_contents() {
        let message = DB.message(&time(1), &[0xaa]);
        assert_eq!(&message[..4], b"d\0b\0");
        assert_eq!(&message[4..8], [0xcb, 0xb2, 0x19, 0xd7]);
        assert_eq!(&message[20..26], [0x27, 0, 0, 0, 0xea, 7]);
        assert_eq!(message[40..], [0xaa]);
    }
}
