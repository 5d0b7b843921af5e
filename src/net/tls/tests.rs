//! What the verifier accepts, asked directly.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};

use super::*;

/// A certificate as PostgreSQL's manual makes it: self-signed, an authority, a common name and no alternative one.
fn manual(common_name: &str, authority: bool, names: &[&str]) -> rcgen::Certificate {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    if authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params.self_signed(&KeyPair::generate().unwrap()).unwrap()
}

fn at(year: i32) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(
        u64::try_from(year - 1970).unwrap() * 31_557_600,
    ))
}

fn check(
    verify: Verify,
    root: &rcgen::Certificate,
    shown: &rcgen::Certificate,
    name: &str,
    year: i32,
) -> Result<(), Fault> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), root.pem()).unwrap();
    let roots = Roots::Only(Pem::File(file.path().to_owned()));
    let verifier = Verifier::new(verify, &roots, Arc::new(ring::default_provider()))?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let checked = verifier.verify_server_cert(shown.der(), &[], &name, &[], at(year));
    checked.map(drop).map_err(|error| fault_of_handshake(&io::Error::other(error)))
}

#[test]
fn a_self_signed_root_is_trusted_as_the_server_itself() {
    for authority in [true, false] {
        let own = manual("db.example", authority, &[]);
        assert_eq!(check(Verify::Full, &own, &own, "db.example", 2025), Ok(()));
        assert_eq!(check(Verify::Chain, &own, &own, "elsewhere", 2025), Ok(()));
        for (name, year, expected) in [
            ("elsewhere", 2025, "is not for this name"),
            ("db.example", 2031, "has expired"),
            ("db.example", 2019, "is not valid yet"),
        ] {
            let fault = check(Verify::Full, &own, &own, name, year).unwrap_err();
            assert_eq!((fault.reason, fault.ours), (Reason::Certificate, false));
            assert!(fault.message.ends_with(expected), "{fault}");
        }
        let other = manual("db.example", authority, &[]);
        for verify in [Verify::Full, Verify::Chain] {
            assert_eq!(
                check(verify, &other, &own, "db.example", 2025).unwrap_err().reason,
                Reason::Certificate
            );
        }
        assert_eq!(check(Verify::Nothing, &other, &own, "x", 2031), Ok(()));
    }
}

#[test]
fn the_common_name_counts_only_without_alternative_names() {
    let own = manual("db.example", false, &["alt.example"]);
    assert_eq!(check(Verify::Full, &own, &own, "alt.example", 2025), Ok(()));
    assert!(check(Verify::Full, &own, &own, "db.example", 2025).is_err());
    let wild = manual("*.example", false, &[]);
    assert_eq!(check(Verify::Full, &wild, &wild, "db.example", 2025), Ok(()));
    assert!(check(Verify::Full, &wild, &wild, "a.db.example", 2025).is_err());
}

#[test]
fn a_file_without_certificates_is_our_fault() {
    let settings = |file: &str| TlsSettings {
        verify: Verify::Full,
        roots: Roots::Only(Pem::File(file.into())),
        identity: None,
        sni: true,
        alpn: None,
    };
    for file in ["/nowhere/ca.pem", "/dev/null"] {
        let fault = settings(file).build().unwrap_err();
        assert_eq!((fault.reason, fault.ours), (Reason::Misconfigured, true), "{fault}");
        assert!(fault.message.starts_with(file));
    }
}
