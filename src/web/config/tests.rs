use std::fs;

use super::*;

/// A directory of its own, and a certificate with its key in it.
fn scene() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    certify(dir.path());
    let file = dir.path().join("web.yml");
    fs::write(&file, "tls_server_config: {cert_file: a.crt, key_file: a.key}\n").unwrap();
    (dir, file)
}

fn certify(dir: &Path) {
    let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    fs::write(dir.join("a.crt"), made.cert.pem()).unwrap();
    fs::write(dir.join("a.key"), made.signing_key.serialize_pem()).unwrap();
}

/// As the task does every two seconds.
fn look_again(armour: &Armour, file: &Path) -> bool {
    let found = changed(file, armour.seen().content);
    let some = found.is_some();
    if let Some((content, policy)) = found {
        armour.take(file, content, policy);
    }
    some
}

fn says(error: &Problems, dir: &Path) -> String {
    error.to_string().replace(&format!("{}/", dir.display()), "")
}

#[test]
fn what_cannot_be_used_is_refused_with_its_place() {
    let (dir, file) = scene();
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let refused = || says(&Armour::load(Some(&file)).unwrap_err(), dir.path());
    let key = dir.path().join("a.key");
    for (content, expected) in [
        (
            other,
            "web.yml:1:49: tls_server_config.key_file: a.key: does not belong to the certificate, or is of a kind that cannot be used\n1 error",
        ),
        (
            "canary".to_owned(),
            "web.yml:1:49: tls_server_config.key_file: a.key: holds no private key in PEM form that can be used (an encrypted one cannot)\n1 error",
        ),
    ] {
        fs::write(&key, content).unwrap();
        assert_eq!(refused(), expected);
    }
    fs::remove_file(&key).unwrap();
    fs::remove_file(dir.path().join("a.crt")).unwrap();
    assert_eq!(
        refused(),
        "web.yml:1:32: tls_server_config.cert_file: a.crt: cannot be read: No such file or directory (os error 2)\n\
         web.yml:1:49: tls_server_config.key_file: a.key: cannot be read: No such file or directory (os error 2)\n2 errors"
    );
    fs::remove_file(&file).unwrap();
    assert_eq!(refused(), "web.yml:1:1: cannot be read: No such file or directory (os error 2)\n1 error");
    fs::write(&file, [0xff]).unwrap();
    assert_eq!(refused(), "web.yml:1:1: not UTF-8 text\n1 error");
}

#[test]
fn a_change_is_taken_and_a_broken_one_is_told_once() {
    let (dir, file) = scene();
    let armour = Armour::load(Some(&file)).unwrap();
    assert!(!look_again(&armour, &file), "nothing has changed");
    let first = armour.policy();
    certify(dir.path());
    assert!(look_again(&armour, &file) && !look_again(&armour, &file));
    let second = armour.policy();
    assert!(!Arc::ptr_eq(&first, &second));
    // Half of a rotation: the new certificate with the old key.
    let key = fs::read(dir.path().join("a.key")).unwrap();
    certify(dir.path());
    let new_key = fs::read(dir.path().join("a.key")).unwrap();
    fs::write(dir.path().join("a.key"), key).unwrap();
    assert!(look_again(&armour, &file) && !look_again(&armour, &file));
    assert!(Arc::ptr_eq(&armour.policy(), &second), "the last good one stays");
    assert!(
        armour.says().contains("cannot be used:\n#   ") && armour.says().contains("does not belong"),
        "{}",
        armour.says()
    );
    fs::write(dir.path().join("a.key"), new_key).unwrap();
    assert!(look_again(&armour, &file));
    assert!(!Arc::ptr_eq(&armour.policy(), &second) && !armour.says().contains("cannot"));
}

#[test]
fn no_change_takes_the_protection_away() {
    let (dir, file) = scene();
    let users = format!("basic_auth_users: {{a: {}}}\n", bcrypt::hash("x", 4).unwrap());
    let tls = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{tls}{users}")).unwrap();
    let armour = Armour::load(Some(&file)).unwrap();
    for (text, why) in [
        ("", "tls_server_config is gone"),
        (users.as_str(), "tls_server_config is gone"),
        (tls.as_str(), "basic_auth_users is gone"),
    ] {
        fs::write(&file, text).unwrap();
        assert!(look_again(&armour, &file));
        assert!(armour.says().contains(why), "{}", armour.says());
        assert!(armour.policy().tls().is_some() && !armour.policy().config.users.is_empty());
    }
    fs::remove_file(&file).unwrap();
    assert!(look_again(&armour, &file) && armour.policy().tls().is_some());
    // More protection needs no restart.
    fs::write(&file, &tls).unwrap();
    let armour = Armour::load(Some(&file)).unwrap();
    fs::write(&file, format!("{tls}{users}")).unwrap();
    assert!(look_again(&armour, &file) && !armour.policy().config.users.is_empty());
    drop(dir);
}

#[tokio::test]
async fn what_needs_no_login_is_let_in_and_not_counted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("web.yml");
    let hash = bcrypt::hash("x", 4).unwrap();
    fs::write(&file, format!("basic_auth_users: {{a: {hash}}}\nrate_limit: {{interval: 1h, burst: 2}}\n"))
        .unwrap();
    let armour = Armour::load(Some(&file)).unwrap();
    let unauthenticated = ["/-/healthy", "/dr-ready/"].map(str::to_owned);
    let ask =
        async |path: &str| armour.admit(&armour.policy(), &unauthenticated, path, "", Instant::now()).await;
    for path in ["/-/healthy", "/dr-ready/orders", "/dr-ready/", "/dr-ready/a/b", "/-/healthy"] {
        assert_eq!(ask(path).await, Admission::Granted, "{path}");
    }
    for (path, expected) in [
        ("/-/healthy/", Admission::LoginNeeded),
        ("/dr-ready", Admission::LoginNeeded),
        ("/metrics", Admission::TooMany),
    ] {
        assert_eq!(ask(path).await, expected, "{path}");
    }
}
