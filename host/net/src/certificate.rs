//! What is known of a client's certificate.
//!
//! Owns: the reading of subject and names. Must not: judge them; rustls has verified the certificate by then, and a plugin
//! decides who it is.

use sha2::{Digest as _, Sha256};
use std::net::{Ipv4Addr, Ipv6Addr};
use witmq_broker::ports::hooks::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Reads a certificate.
///
/// # Errors
/// It is not one as RFC 5280 has it.
pub(crate) fn read(der: &[u8]) -> Result<Certificate, x509_cert::der::Error> {
    let read = x509_cert::Certificate::from_der(der)?.tbs_certificate;
    let names = read.get::<SubjectAltName>()?;
    let names = names.map_or_else(Vec::new, |(_is_critical, names)| names.0);
    let digest = Sha256::digest(der);
    Ok(Certificate {
        subject: read.subject.to_string(),
        fingerprint: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        names: names.iter().filter_map(name).collect(),
    })
}

/// With its kind before it. Kinds without a common written form are left out.
fn name(name: &GeneralName) -> Option<String> {
    Some(match name {
        GeneralName::DnsName(name) => format!("DNS:{name}"),
        GeneralName::Rfc822Name(name) => format!("email:{name}"),
        GeneralName::UniformResourceIdentifier(name) => format!("URI:{name}"),
        GeneralName::DirectoryName(name) => format!("DirName:{name}"),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let four = <[u8; 4]>::try_from(bytes).map(|four| Ipv4Addr::from(four).to_string());
            let sixteen = || <[u8; 16]>::try_from(bytes).map(|all| Ipv6Addr::from(all).to_string());
            format!("IP:{}", four.or_else(|_| sixteen()).ok()?)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    #[test]
    fn subject_and_names_are_read() {
        let mut params = CertificateParams::new(["device-7.example.com".to_owned()]).unwrap();
        let subject = &mut params.distinguished_name;
        *subject = rcgen::DistinguishedName::new();
        subject.push(DnType::OrganizationName, "Plant, North");
        subject.push(DnType::CommonName, "device-7");
        params.subject_alt_names.extend([
            SanType::IpAddress("192.0.2.7".parse().unwrap()),
            SanType::IpAddress("2001:db8::7".parse().unwrap()),
            SanType::Rfc822Name("ops@example.com".try_into().unwrap()),
            SanType::URI("urn:device:7".try_into().unwrap()),
        ]);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let known = read(made.der()).unwrap();
        assert_eq!(known.subject, "CN=device-7,O=Plant\\, North");
        let digest = Sha256::digest(made.der());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(known.fingerprint, hex);
        assert_eq!(
            known.names,
            [
                "DNS:device-7.example.com",
                "IP:192.0.2.7",
                "IP:2001:db8::7",
                "email:ops@example.com",
                "URI:urn:device:7"
            ]
        );
    }

    #[test]
    fn one_without_names_has_none_and_noise_is_refused() {
        let params = CertificateParams::new(Vec::new()).unwrap();
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(read(made.der()).unwrap().names, [""; 0]);
        let der = made.der();
        for cut in [0, 1, der.len() / 2, der.len() - 1] {
            assert!(read(&der[..cut]).is_err(), "{cut}");
        }
    }
}
