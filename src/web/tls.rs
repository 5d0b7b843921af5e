//! TLS as the web server speaks it, made of what the web configuration asks for. Reads no file: it is given what they hold.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use crate::config::{ClientAuth, ServerTls};
use crate::net::tls::der::{self, AlternativeName};

/// What the files hold, or the web configuration itself. PEM.
#[derive(Debug)]
pub struct Pem {
    /// The certificate and its chain.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
    /// The authorities of clients, where their certificates are verified.
    pub client_cas: Option<Vec<u8>>,
}

/// Which of the three cannot be used, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The certificate.
    Certificate(&'static str),
    /// The key.
    Key(&'static str),
    /// The authorities of clients.
    ClientCas(&'static str),
}

/// What is demanded of a client's certificate.
#[derive(Debug)]
struct Clients {
    mandatory: bool,
    /// How it is verified; any will do if absent.
    chain: Option<Arc<dyn ClientCertVerifier>>,
    /// Certificates that are themselves among the authorities, as `openssl req -x509` makes them: trusted as they are.
    pinned: Vec<CertificateDer<'static>>,
    names: Option<Vec<String>>,
    provider: Arc<CryptoProvider>,
}

/// The configuration of the TLS library.
///
/// # Errors
///
/// The first of certificate, key and authorities that cannot be used.
pub fn server_config(tls: &ServerTls, http2: bool, pem: &Pem) -> Result<Arc<ServerConfig>, Unusable> {
    let ServerTls {
        certificate: _,
        key: _,
        client_auth,
        client_cas: _,
        allowed_sans,
        tls12,
        tls13,
        cipher_suites,
        curves,
        prefer_server_order,
    } = tls;
    let mut provider = ring::default_provider();
    if let Some(suites) = cipher_suites {
        // TLS 1.3 has its own, which are all good and cannot be chosen, as with Go.
        provider.cipher_suites.retain(|suite| suite.version() == &TLS13);
        provider.cipher_suites.extend(suites);
    }
    if let Some(curves) = curves {
        provider.kx_groups.clone_from(curves);
    }
    let provider = Arc::new(provider);
    let versions: Vec<&'static SupportedProtocolVersion> = [(*tls13, &TLS13), (*tls12, &TLS12)]
        .into_iter()
        .filter_map(|(on, version)| on.then_some(version))
        .collect();
    let certificates =
        certificates(&pem.certificate).ok_or(Unusable::Certificate("holds no certificate in PEM form"))?;
    let key = PrivateKeyDer::from_pem_slice(&pem.key).map_err(|_| {
        Unusable::Key("holds no private key in PEM form that can be used (an encrypted one cannot)")
    })?;
    let clients =
        Clients::new(*client_auth, pem.client_cas.as_deref(), allowed_sans.as_deref(), provider.clone())?;
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|_| Unusable::Certificate("there is no cipher suite for these versions of TLS"))?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(Arc::new(clients)),
    };
    let mut config = builder.with_single_cert(certificates, key).map_err(|_| {
        Unusable::Key("does not belong to the certificate, or is of a kind that cannot be used")
    })?;
    config.ignore_client_order = *prefer_server_order;
    let protocols: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.ok().filter(|certificates| !certificates.is_empty())
}

// === impl Clients ===

impl Clients {
    fn new(
        kind: ClientAuth,
        cas: Option<&[u8]>,
        names: Option<&[String]>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Option<Self>, Unusable> {
        let mandatory = match kind {
            ClientAuth::None => return Ok(None),
            ClientAuth::Request | ClientAuth::VerifyIfGiven => false,
            ClientAuth::RequireAny | ClientAuth::RequireAndVerify => true,
        };
        let mut clients =
            Clients { mandatory, chain: None, pinned: Vec::new(), names: names.map(<[_]>::to_vec), provider };
        if kind.verifies() {
            let pem = cas.ok_or(Unusable::ClientCas("is missing"))?;
            clients.pinned =
                certificates(pem).ok_or(Unusable::ClientCas("holds no certificate in PEM form"))?;
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(clients.pinned.iter().cloned());
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), clients.provider.clone());
            clients.chain = Some(
                verifier.build().map_err(|_| Unusable::ClientCas("holds no certificate of an authority"))?,
            );
        }
        Ok(Some(clients))
    }

    /// Whether one of the names that are let in is in a certificate. Compared as the toolkit does: letter by letter.
    fn may_enter(&self, certificate: &CertificateDer<'_>) -> bool {
        let Some(allowed) = &self.names else { return true };
        der::alternative_names(certificate).iter().any(|name| {
            let text = match name {
                AlternativeName::Text(text) => text.clone(),
                AlternativeName::Address(address) => IpAddr::to_string(address),
            };
            allowed.contains(&text)
        })
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.as_ref().map_or(&[], |chain| chain.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ClientCertVerified::assertion()) };
        if self.pinned.iter().any(|pinned| pinned == certificate) {
            let facts = der::read(certificate).ok_or(CertificateError::BadEncoding)?;
            if now.as_secs() < facts.not_before {
                return Err(CertificateError::NotValidYet.into());
            }
            if now.as_secs() > facts.not_after {
                return Err(CertificateError::Expired.into());
            }
        } else {
            chain.verify_client_cert(certificate, intermediates, now)?;
        }
        if self.may_enter(certificate) {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    // Even where nothing is verified the client must own the key of the certificate that it shows.
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
