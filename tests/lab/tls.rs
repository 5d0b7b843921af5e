//! Certificates for the lab's servers, from a new authority each time.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// Now.
    Current,
    /// It ended years ago.
    Expired,
}

/// A server's certificate, its key, and the authority that signed it, all PEM.
pub struct Issued {
    /// The authority's certificate.
    pub ca: String,
    /// The server's certificate.
    pub certificate: String,
    /// The server's key.
    pub key: String,
}

/// Issues a certificate for a DNS name or an IP address.
pub fn issue(server_name: &str, validity: Validity) -> Issued {
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name.push(DnType::CommonName, "dr-exporter lab authority");
    let ca_certificate = ca.self_signed(&ca_key).expect("a self-signed authority");
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate().expect("a key");
    let mut server = CertificateParams::new(vec![server_name.to_owned()]).expect("a server name");
    server.distinguished_name.push(DnType::CommonName, server_name);
    match validity {
        Validity::Current => {}
        Validity::Expired => {
            server.not_before = date_time_ymd(2020, 1, 1);
            server.not_after = date_time_ymd(2021, 1, 1);
        }
    }
    let certificate = server.signed_by(&key, &issuer).expect("a signed certificate");
    Issued { ca: ca_certificate.pem(), certificate: certificate.pem(), key: key.serialize_pem() }
}
