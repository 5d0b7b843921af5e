//! TLS as clients demand it: what is verified, against which roots, and what a failure means.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

use super::dial::Fault;
use super::dsn::Pem;
use crate::model::Reason;

pub mod der;
#[cfg(test)]
mod tests;

/// What is checked of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verify {
    /// The chain, the dates and the name.
    Full,
    /// The chain and the dates.
    Chain,
    /// Nothing.
    Nothing,
}

/// What certificates are checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// The operating system's, and these files beside them.
    SystemAnd(Vec<PathBuf>),
    /// Only these, as `sslrootcert` means it.
    Only(Pem),
}

/// Everything that decides about a TLS session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// What is checked.
    pub verify: Verify,
    /// Against what.
    pub roots: Roots,
    /// A client certificate (PEM) and its key (PEM or PKCS#8 DER).
    pub identity: Option<(Pem, Pem)>,
    /// Whether the host's name is sent.
    pub sni: bool,
    /// The protocol to agree on, if any.
    pub alpn: Option<&'static str>,
}

// === impl TlsSettings ===

impl TlsSettings {
    /// Reads the files now and makes a configuration of them; the system's roots are read once a process.
    ///
    /// # Errors
    /// [`Fault`], always ours: a file of certificates that we cannot read or that holds none.
    pub fn build(&self) -> Result<Arc<ClientConfig>, Fault> {
        let Self { verify, roots, identity, sni, alpn } = self;
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|_| misconfigured("the TLS library accepts no version"))?;
        let verifier = Verifier::new(*verify, roots, provider)?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(read_certificates(certificate)?, read_key(key)?)
                .map_err(|_| {
                    misconfigured(format!("{} and {} do not belong together", name(certificate), name(key)))
                })?,
        };
        config.enable_sni = *sni;
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        // A resumed session would not show the certificate that the server has now.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// What a broken handshake means: `certificate` when it does not verify, `tls` for all else.
pub fn fault_of_handshake(error: &io::Error) -> Fault {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Fault::theirs(Reason::Tls, "TLS handshake: the other side closed the connection")
            }
            _ => Fault { reason: Reason::Tls, ..Fault::of_io(error, "TLS handshake") },
        };
    };
    use CertificateError as C;
    let certificate =
        |text: &str| Fault::theirs(Reason::Certificate, format!("the server's certificate {text}"));
    match error {
        rustls::Error::InvalidCertificate(why) => match why {
            C::Expired | C::ExpiredContext { .. } => certificate("has expired"),
            C::NotValidYet | C::NotValidYetContext { .. } => certificate("is not valid yet"),
            C::NotValidForName | C::NotValidForNameContext { .. } => certificate("is not for this name"),
            C::UnknownIssuer => certificate("is not signed by a root that is trusted here"),
            C::Revoked => certificate("is revoked"),
            C::BadEncoding => certificate("is malformed"),
            // webpki's own, above all a self-signed authority that stands in for a server.
            C::Other(_) => {
                certificate("is not a server's, or is self-signed and not the root that is configured")
            }
            _ => certificate("does not verify"),
        },
        rustls::Error::NoCertificatesPresented => certificate("is missing"),
        rustls::Error::AlertReceived(_) => {
            Fault::theirs(Reason::Tls, "TLS handshake: the server refused it with an alert")
        }
        rustls::Error::InvalidMessage(_) => {
            Fault::theirs(Reason::Tls, "TLS handshake: the server does not speak TLS")
        }
        rustls::Error::PeerIncompatible(_) => {
            Fault::theirs(Reason::Tls, "TLS handshake: no version or cipher in common")
        }
        _ => Fault::theirs(Reason::Tls, "TLS handshake failed"),
    }
}

/// Checks as the applications' libraries do, which is wider than web browsers' rules in two points: a certificate
/// that is itself the configured root is trusted (`openssl req -x509`, as PostgreSQL's manual makes one), and a
/// certificate without any alternative name is matched by its common name (libpq and pgjdbc do so).
#[derive(Debug)]
struct Verifier {
    verify: Verify,
    chain: Option<Arc<WebPkiServerVerifier>>,
    pinned: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

// === impl Verifier ===

impl Verifier {
    fn new(verify: Verify, roots: &Roots, provider: Arc<CryptoProvider>) -> Result<Self, Fault> {
        if verify == Verify::Nothing {
            return Ok(Self { verify, chain: None, pinned: Vec::new(), provider });
        }
        let mut pinned = Vec::new();
        let mut store = match roots {
            Roots::SystemAnd(files) => {
                for file in files {
                    pinned.extend(read_certificates(&Pem::File(file.clone()))?);
                }
                system_roots().as_ref().clone()
            }
            Roots::Only(pem) => {
                pinned.extend(read_certificates(pem)?);
                RootCertStore::empty()
            }
        };
        store.add_parsable_certificates(pinned.iter().cloned());
        if store.is_empty() {
            return Err(misconfigured("there is no root certificate to check the server against"));
        }
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone())
            .build()
            .map_err(|_| misconfigured("the root certificates are not usable"))?;
        Ok(Self { verify, chain: Some(chain), pinned, provider })
    }

    /// A certificate that we were given as a root and that the server shows as its own.
    fn check_pinned(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        let facts = der::read(certificate).ok_or(CertificateError::BadEncoding)?;
        if now.as_secs() < facts.not_before {
            return Err(CertificateError::NotValidYet);
        }
        if now.as_secs() > facts.not_after {
            return Err(CertificateError::Expired);
        }
        if self.verify == Verify::Full { check_name(certificate, &facts, name) } else { Ok(()) }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        if self.pinned.iter().any(|pinned| pinned == certificate) {
            return match self.check_pinned(certificate, name, now) {
                Ok(()) => Ok(ServerCertVerified::assertion()),
                Err(error) => Err(error.into()),
            };
        }
        // webpki looks at the name last, so an error about the name says that the chain is good.
        match chain.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(
                error @ (CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }),
            )) => {
                let named =
                    der::read(certificate).is_some_and(|facts| check_name(certificate, &facts, name).is_ok());
                if self.verify == Verify::Chain || named {
                    Ok(ServerCertVerified::assertion())
                } else {
                    Err(error.into())
                }
            }
            other => other,
        }
    }

    // Even where nothing is verified the server must own the key of the certificate that it shows.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// By the alternative names, and by the common name only where there are none (RFC 6125, 6.4.4).
fn check_name(
    certificate: &CertificateDer<'_>,
    facts: &der::Facts,
    name: &ServerName<'_>,
) -> Result<(), CertificateError> {
    if !facts.has_alternative_names {
        let wanted = name.to_str().trim_end_matches('.').to_ascii_lowercase();
        let common = facts.common_name.as_deref().unwrap_or_default().to_ascii_lowercase();
        let wildcard = common.strip_prefix("*.").is_some_and(|rest| {
            matches!(name, ServerName::DnsName(_))
                && wanted.split_once('.').is_some_and(|(_, tail)| tail == rest)
        });
        return if common == wanted || wildcard { Ok(()) } else { Err(CertificateError::NotValidForName) };
    }
    let parsed = rustls::server::ParsedCertificate::try_from(certificate)
        .map_err(|_| CertificateError::BadEncoding)?;
    rustls::client::verify_server_name(&parsed, name).map_err(|_| CertificateError::NotValidForName)
}

fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let read = || {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(store)
    };
    ROOTS.get_or_init(read).clone()
}

fn read_certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes(pem)?).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(misconfigured(format!("{}: holds no certificate in PEM form", name(pem)))),
    }
}

fn read_key(pem: &Pem) -> Result<PrivateKeyDer<'static>, Fault> {
    let bytes = bytes(pem)?;
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Ok(key),
        // pgjdbc wants its keys as PKCS#8 DER, which begins with a SEQUENCE.
        Err(_) if bytes.first() == Some(&0x30) => Ok(PrivatePkcs8KeyDer::from(bytes).into()),
        Err(_) => Err(misconfigured(format!(
            "{}: holds no private key that can be used (an encrypted one cannot)",
            name(pem)
        ))),
    }
}

fn bytes(pem: &Pem) -> Result<Vec<u8>, Fault> {
    match pem {
        Pem::File(path) => {
            std::fs::read(path).map_err(|_| misconfigured(format!("{}: cannot be read", path.display())))
        }
        Pem::Text { text, from: _ } => Ok(text.expose().as_bytes().to_vec()),
    }
}

/// What it is called in messages.
fn name(pem: &Pem) -> String {
    match pem {
        Pem::File(path) => path.display().to_string(),
        Pem::Text { text: _, from } => from.clone(),
    }
}

fn misconfigured(message: impl Into<String>) -> Fault {
    Fault::ours(Reason::Misconfigured, message)
}
