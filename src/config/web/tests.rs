use std::path::Path;
use std::time::Duration;

use super::*;
use http::header::STRICT_TRANSPORT_SECURITY;
const EXAMPLE: &str = include_str!("../../../docs/web-config.example.yml");
const HASH: &str = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";

fn read(text: &str) -> Result<WebConfig, String> {
    parse_web(Path::new("etc/web.yml"), text).map_err(|problems| problems.to_string())
}

fn tls(more: &str) -> String {
    format!("tls_server_config:\n  cert_file: a.crt\n  key_file: a.key\n{more}")
}

#[test]
fn the_example_is_read_whole() {
    let WebConfig { tls, http2, headers, users, rate_limit } = read(EXAMPLE).unwrap();
    let tls = tls.unwrap();
    assert!(matches!(&tls.certificate.source, Source::File(path) if path == Path::new("etc/tls.crt")));
    assert_eq!((tls.tls12, tls.tls13, tls.client_auth, http2), (true, true, ClientAuth::None, true));
    assert_eq!(headers[0].0, STRICT_TRANSPORT_SECURITY);
    assert_eq!(users.keys().collect::<Vec<_>>(), ["prometheus"]);
    assert_eq!(rate_limit, None);
    let limited = read(&EXAMPLE.replace("# rate_limit", "rate_limit")).unwrap().rate_limit;
    assert_eq!(limited, Some(RateLimit { interval: Duration::from_millis(10), burst: 100 }));
}

#[test]
fn what_the_toolkit_takes_is_taken() {
    for text in [
        "",
        "# nothing\n---\n",
        "tls_server_config:\nbasic_auth_users:\nrate_limit:\nhttp_server_config:\n",
        "tls_server_config: {}\n",
        "http_server_config: {http2: false, headers: {X-Frame-Options: deny, X-XSS-Protection: ''}}\n",
        "rate_limit: {interval: 0, burst: 5}\n",
        "rate_limit: {interval: 1m30.5s, burst: 1}\n",
        &format!("basic_auth_users: {{alice: {HASH}, \"bob smith\": \"{HASH}\", '': {HASH}}}\n")
            .replace(", '': ", ", x: "),
        &tls("  client_auth_type: RequireClientCert\n"),
        &tls("  client_auth_type: ''\n  min_version: TLS13\n"),
        &tls("  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]\n"),
        &tls("  curve_preferences: [CurveP384, X25519]\n  prefer_server_cipher_suites: false\n"),
        &tls(
            "  client_ca_file: /ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: [a]\n",
        ),
        "tls_server_config: {cert: x, key: y}\n",
    ] {
        if let Err(said) = read(text) {
            panic!("{text}\n{said}");
        }
    }
    let tls = read(&tls("  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]\n"));
    let tls = tls.unwrap().tls.unwrap();
    assert_eq!((tls.tls12, tls.tls13, tls.cipher_suites.unwrap().len()), (true, false, 1));
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let suites = "TLS_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256, \
                  TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, \
                  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, \
                  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256";
    let table: Vec<(String, Vec<String>)> = [
        ("basic_auth_user: {}\n".to_owned(), vec![
            "1:1: basic_auth_user: unknown key `basic_auth_user`, did you mean `basic_auth_users`? Allowed here: \
             tls_server_config, http_server_config, basic_auth_users, rate_limit",
        ]),
        ("basic_auth_users: {alice: hunter2, bob: 12, 'a:b': $2y$99$x}\n".to_owned(), vec![
            "1:27: basic_auth_users.alice: expected the bcrypt hash of a password, such as `htpasswd -nB` and \
             `dr-exporter hash-password` print it",
            "1:41: basic_auth_users.bob: expected a text, found a number; put it in quotes",
            "1:45: basic_auth_users: this key must be a name without a colon",
        ]),
        (format!("basic_auth_users: {{a: {}}}\n", HASH.replace("$10$", "$17$")), vec![
            "1:23: basic_auth_users.a: a bcrypt cost of 17 takes too long for a login; at most 16, usual is 10",
        ]),
        ("tls_server_config: {min_version: TLS12}\n".to_owned(), vec![
            "1:20: tls_server_config: cert_file or cert is missing: without it there would be no TLS",
            "1:20: tls_server_config: key_file or key is missing: without it there would be no TLS",
        ]),
        ("tls_server_config: {cert_file: a, cert: b, key_file: c, key: d}\n".to_owned(), vec![
            "1:41: tls_server_config.cert: both cert and cert_file are given; keep one",
            "1:62: tls_server_config.key: both key and key_file are given; keep one",
        ]),
        (tls("  min_version: TLS10\n  max_version: TLS11\n"), vec![
            "4:16: tls_server_config.min_version: TLS10 is not to be had: the TLS library here speaks TLS12 and TLS13 only",
            "5:16: tls_server_config.max_version: TLS11 is not to be had: the TLS library here speaks TLS12 and TLS13 only",
        ]),
        (tls("  min_version: TLS13\n  max_version: TLS12\n"), vec![
            "4:16: tls_server_config.min_version: min_version is above max_version: nothing is left to speak",
        ]),
        (tls("  min_version: tls1.2\n"), vec!["4:16: tls_server_config.min_version: expected one of TLS12, TLS13"]),
        (tls("  curve_preferences: [X25519, CurveP521]\n"), vec![
            "4:31: tls_server_config.curve_preferences[1]: the TLS library here does not have this curve; it has X25519, \
             CurveP256, CurveP384",
        ]),
        (tls("  client_auth_type: RequireAndVerify\n"), vec![
            "4:21: tls_server_config.client_auth_type: expected one of NoClientCert, RequestClientCert, \
             RequireAnyClientCert, RequireClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert",
        ]),
        (tls("  client_auth_type: VerifyClientCertIfGiven\n"), vec![
            "4:21: tls_server_config.client_auth_type: client_ca_file is missing: there is nothing to verify a client's \
             certificate against",
        ]),
        (tls("  client_ca_file: ca\n"), vec![
            "2:3: tls_server_config: authorities of clients are given and client_auth_type asks for no certificate; \
             RequireAndVerifyClientCert is what is usually meant",
        ]),
        (tls("  client_auth_type: RequireAnyClientCert\n  client_allowed_sans: [a]\n"), vec![
            "5:24: tls_server_config.client_allowed_sans: names prove nothing in a certificate that is not verified: set \
             client_auth_type to RequireAndVerifyClientCert",
        ]),
        ("http_server_config: {http2: yes, headers: {X-Frame-Options: maybe, X-Content-Type-Options: no, X-Extra: y}}\n".to_owned(), vec![
            "1:29: http_server_config.http2: expected true or false, found a text",
            "1:61: http_server_config.headers.X-Frame-Options: expected one of deny, sameorigin",
            "1:92: http_server_config.headers.X-Content-Type-Options: expected one of nosniff",
            "1:96: http_server_config.headers: unknown key (not shown, it may be a credential); allowed here: \
             Content-Security-Policy, Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, X-XSS-Protection",
        ]),
        ("rate_limit: {interval: 1000000, burst: 5}\n".to_owned(), vec![
            "1:24: rate_limit.interval: expected a duration such as 500ms or 1s, or 0",
        ]),
        ("rate_limit: {interval: -1s, burst: -1}\n".to_owned(), vec![
            "1:24: rate_limit.interval: expected a duration such as 500ms or 1s, or 0",
            "1:36: rate_limit.burst: expected a whole number from 0 to 1000000",
        ]),
        ("rate_limit: {interval: 1s}\n".to_owned(), vec![
            "1:13: rate_limit: `burst` must be at least 1: a bucket for no tokens answers nobody",
        ]),
        ("- a\n".to_owned(), vec!["1:1: expected a mapping, found a list"]),
        ("a: [\n".to_owned(), vec![
            "1:4: not valid YAML from here on; often a quote, bracket or indentation before it",
        ]),
    ]
    .into_iter()
    .map(|(text, says)| (text, says.into_iter().map(str::to_owned).collect()))
    .chain([(
        tls("  cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]\n"),
        vec![format!(
            "4:19: tls_server_config.cipher_suites[0]: the TLS library here does not have this cipher suite; it has {suites}"
        )],
    )])
    .collect();
    let mut wrong = String::new();
    for (text, says) in table {
        let said = read(&text).err().unwrap_or_default();
        let plural = if says.len() == 1 { "" } else { "s" };
        let lines: String = says.iter().map(|line| format!("etc/web.yml:{line}\n")).collect();
        if said != format!("{lines}{} error{plural}", says.len()) {
            wrong += &format!("{text}{said}\n--- but should say\n{lines}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn nothing_of_it_can_be_printed() {
    let text =
        format!("basic_auth_users: {{alice: {HASH}}}\ntls_server_config: {{cert: x, key: canary-key}}\n");
    let shown = format!("{:?}", read(&text).unwrap());
    assert!(!shown.contains(HASH) && !shown.contains("canary"), "{shown}");
    for wrong in [
        "basic_auth_users: {alice: canary}",
        "basic_auth_users: [canary]",
        "basic_auth_users: canary",
        "canary-$: x",
        "tls_server_config: {key: [canary]}",
        "tls_server_config: {client_auth_type: canary}",
    ] {
        let said = read(wrong).unwrap_err();
        assert!(!said.contains("canary"), "{said}");
    }
}

#[test]
fn durations_are_those_of_go() {
    for (text, expected) in [
        ("0", Some(0.0)),
        ("0s", Some(0.0)),
        ("1s", Some(1.0)),
        (".5s", Some(0.5)),
        ("1h2m3.5s", Some(3723.5)),
        ("250ms", Some(0.25)),
        ("10us", Some(1e-5)),
        ("+1s", Some(1.0)),
        ("-1s", None),
        ("1", None),
        ("1d", None),
        ("s", None),
        (".s", None),
        ("1s ", None),
        ("9000h", None),
        ("1e3s", None),
        ("", None),
    ] {
        let found = crate::config::scalar::parse_go_duration(text).map(|span| span.as_secs_f64());
        assert_eq!(found, expected, "{text}");
    }
}
