//! The few facts of an X.509 certificate that the TLS library does not hand out. Pure.
//!
//! Layout: RFC 5280, section 4.1. Only reads; what does not fit is `None`.

use std::net::IpAddr;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Seconds since 1970 from which it is valid.
    pub not_before: u64,
    /// Seconds since 1970 after which it has expired.
    pub not_after: u64,
    /// The last common name of the subject.
    pub common_name: Option<String>,
    /// Whether the extension `subjectAltName` is there.
    pub has_alternative_names: bool,
    /// The content of the object identifier of the signature's algorithm.
    pub signature_algorithm: Vec<u8>,
}

/// One entry of `subjectAltName` (RFC 5280, 4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlternativeName {
    /// A DNS name, an e-mail address or a URI.
    Text(String),
    /// An IP address.
    Address(IpAddr),
}

const SEQUENCE: u8 = 0x30;
const OCTETS: u8 = 0x04;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 29, 17];

/// Reads a certificate.
pub fn read(certificate: &[u8]) -> Option<Facts> {
    let (outer, _) = expect(certificate, SEQUENCE)?;
    let (tbs, after) = expect(outer, SEQUENCE)?;
    let (algorithm, _) = expect(after, SEQUENCE)?;
    let (signature_algorithm, _) = expect(algorithm, OID)?;
    let rest = after_issuer(tbs)?;
    let (validity, rest) = expect(rest, SEQUENCE)?;
    let (tag, begin, end) = element(validity)?;
    let not_before = time(tag, begin)?;
    let (tag, end, _) = element(end)?;
    let not_after = time(tag, end)?;
    let (subject, rest) = expect(rest, SEQUENCE)?;
    let has_alternative_names = extension(rest, SUBJECT_ALT_NAME)?.is_some();
    let common_name = common_name(subject);
    Some(Facts {
        not_before,
        not_after,
        common_name,
        has_alternative_names,
        signature_algorithm: signature_algorithm.to_vec(),
    })
}

/// The alternative names of a certificate that are texts or addresses; none if it cannot be read.
pub fn alternative_names(certificate: &[u8]) -> Vec<AlternativeName> {
    names(certificate).unwrap_or_default()
}

fn names(certificate: &[u8]) -> Option<Vec<AlternativeName>> {
    let (outer, _) = expect(certificate, SEQUENCE)?;
    let (tbs, _) = expect(outer, SEQUENCE)?;
    // validity, subject.
    let rest = element(element(after_issuer(tbs)?)?.2)?.2;
    let value = extension(rest, SUBJECT_ALT_NAME)??;
    let (mut list, _) = expect(value, SEQUENCE)?;
    let mut found = Vec::new();
    while let Some((tag, content, after)) = element(list) {
        match tag {
            // rfc822Name [1], dNSName [2], uniformResourceIdentifier [6]: IA5String.
            0x81 | 0x82 | 0x86 if content.is_ascii() => {
                found.push(AlternativeName::Text(String::from_utf8(content.to_vec()).ok()?));
            }
            0x87 => {
                let four = <[u8; 4]>::try_from(content).map(IpAddr::from);
                let address = four.or_else(|_| <[u8; 16]>::try_from(content).map(IpAddr::from));
                found.extend(address.ok().map(AlternativeName::Address));
            }
            _ => {}
        }
        list = after;
    }
    Some(found)
}

/// What follows version [0] (optional), serial, signature and issuer.
fn after_issuer(tbs: &[u8]) -> Option<&[u8]> {
    let (tag, _, rest) = element(tbs)?;
    let mut rest = if tag == 0xa0 { element(rest)?.2 } else { rest };
    for _ in 0..2 {
        rest = element(rest)?.2;
    }
    Some(rest)
}

/// The value of an extension, from what follows the subject: subjectPublicKeyInfo, then [1] and [2] (optional), then [3]
/// extensions. `Some(None)` if there is none.
fn extension<'a>(after_subject: &'a [u8], wanted: &[u8]) -> Option<Option<&'a [u8]>> {
    let mut rest = element(after_subject)?.2;
    while let Some((tag, content, after)) = element(rest) {
        if tag == 0xa3 {
            let (mut extensions, _) = expect(content, SEQUENCE)?;
            while let Some((_, extension, after)) = element(extensions) {
                let (kind, mut value) = expect(extension, OID)?;
                if kind == wanted {
                    // critical (optional), then the value in an octet string.
                    if let Some((0x01, _, after)) = element(value) {
                        value = after;
                    }
                    return Some(Some(expect(value, OCTETS)?.0));
                }
                extensions = after;
            }
        }
        rest = after;
    }
    Some(None)
}

fn common_name(mut subject: &[u8]) -> Option<String> {
    let mut found = None;
    while let Some((SET, mut set, after)) = element(subject) {
        while let Some((SEQUENCE, attribute, next)) = element(set) {
            let (kind, value) = expect(attribute, OID)?;
            if kind == COMMON_NAME {
                found = element(value).and_then(|(_, text, _)| String::from_utf8(text.to_vec()).ok());
            }
            set = next;
        }
        subject = after;
    }
    found
}

/// UTCTime or GeneralizedTime, both of which end in `Z` here (RFC 5280, 4.1.2.5). Before 1970 counts as 1970.
fn time(tag: u8, text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        0x17 => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i16 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        0x18 => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let part = |index: usize| rest.get(index * 2..index * 2 + 2)?.parse::<i8>().ok();
    let civil = DateTime::new(year, part(0)?, part(1)?, part(2)?, part(3)?, part(4)?, 0).ok()?;
    let zoned = TimeZone::UTC.to_timestamp(civil).ok()?;
    Some(u64::try_from(zoned.as_second()).unwrap_or(0))
}

fn expect(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    element(bytes).filter(|(found, _, _)| *found == tag).map(|(_, content, rest)| (content, rest))
}

/// Tag, content and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_real_certificate_is_read() {
        let mut params = rcgen::CertificateParams::new(vec!["db.example".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "db");
        params.not_before = rcgen::date_time_ymd(2020, 1, 2);
        params.not_after = rcgen::date_time_ymd(2055, 1, 2);
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let facts = read(certificate.der()).unwrap();
        assert_eq!((facts.not_before, facts.not_after), (1_577_923_200, 2_682_460_800));
        assert_eq!((facts.common_name.as_deref(), facts.has_alternative_names), (Some("db"), true));
        // ecdsa-with-SHA256, 1.2.840.10045.4.3.2.
        assert_eq!(facts.signature_algorithm, [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
    }

    #[test]
    fn alternative_names_of_every_kind_are_read() {
        let mut params =
            rcgen::CertificateParams::new(vec!["a.example".to_owned(), "::1".to_owned()]).unwrap();
        let uri = "spiffe://example/prometheus".try_into().unwrap();
        params.subject_alt_names.push(rcgen::SanType::URI(uri));
        params.subject_alt_names.push(rcgen::SanType::Rfc822Name("ops@example".try_into().unwrap()));
        params.subject_alt_names.push(rcgen::SanType::IpAddress([10, 0, 0, 1].into()));
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let text = |text: &str| AlternativeName::Text(text.to_owned());
        let address = |text: &str| AlternativeName::Address(text.parse().unwrap());
        assert_eq!(
            alternative_names(certificate.der()),
            [
                text("a.example"),
                address("::1"),
                text("spiffe://example/prometheus"),
                text("ops@example"),
                address("10.0.0.1")
            ]
        );
        let none =
            rcgen::CertificateParams::default().self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        assert_eq!(alternative_names(none.der()), []);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(alternative_names(&bytes), []);
            prop_assert!(read(&bytes).is_none());
        }
    }
}
