//! A table of strings as found in the wild, and properties.

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Dsn {
    Dsn::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn brief(dsn: &Dsn) -> String {
    let password = dsn.password.as_ref().map_or("-", Secret::expose);
    format!("{dsn} {password}")
}

#[test]
fn forms_as_applications_write_them() {
    for (text, expected) in [
        ("postgres://u:p@h/d", "postgres://u@h:5432/d?sslmode=prefer p"),
        (" postgresql://u:p@h:6432/d\n", "postgres://u@h:6432/d?sslmode=prefer p"),
        ("POSTGRES://h", "postgres://h:5432?sslmode=prefer -"),
        ("postgres://u%40x:p%3A%2F%40%25@h/d%2Fe", "postgres://u%40x@h:5432/d%2Fe?sslmode=prefer p:/@%"),
        ("postgres://u:p+q@h/d", "postgres://u@h:5432/d?sslmode=prefer p+q"),
        ("postgres://u:p:q@h/d", "postgres://u@h:5432/d?sslmode=prefer p:q"),
        (
            "postgres://[::1]:5433,h2,10.0.0.1:1/d",
            "postgres://[::1]:5433,h2:5432,10.0.0.1:1/d?sslmode=prefer -",
        ),
        ("postgres://%2Fvar%2Frun%2Fpg:5433/d", "postgres://%2Fvar%2Frun%2Fpg:5433/d?sslmode=prefer -"),
        (
            "postgres://u@localhost/d?host=/cloudsql/p:r:i",
            "postgres://u@%2Fcloudsql%2Fp%3Ar%3Ai:5432/d?sslmode=prefer -",
        ),
        ("postgres:///d?host=a,b&port=1,2", "postgres://a:1,b:2/d?sslmode=prefer -"),
        ("postgres:///d?host=a,b&port=7", "postgres://a:7,b:7/d?sslmode=prefer -"),
        ("postgres://h/d?user=u&password=p%26q", "postgres://u@h:5432/d?sslmode=prefer p&q"),
        (
            "postgres://h/d?sslmode=verify-full&target_session_attrs=read-write",
            "postgres://h:5432/d?sslmode=verify-full&target_session_attrs=read-write -",
        ),
        ("postgres://h/d?ssl=true", "postgres://h:5432/d?sslmode=require -"),
        ("postgres://h/d?sslmode=no-verify", "postgres://h:5432/d?sslmode=require -"),
        ("postgres://h/d?sslmode=require&sslaccept=strict", "postgres://h:5432/d?sslmode=verify-full -"),
        ("postgresql+psycopg2://u:p@/d?host=a:1&host=b:2", "postgres://u@a:1,b:2/d?sslmode=prefer p"),
        ("postgresql+asyncpg://u:p@h/d?ssl=verify-ca", "postgres://u@h:5432/d?sslmode=verify-ca p"),
        (
            "jdbc:postgresql://h1:1,h2/d?user=u&password=p%2Bq&ssl=true&targetServerType=preferSecondary",
            "postgres://u@h1:1,h2:5432/d?sslmode=verify-full&target_session_attrs=prefer-standby p+q",
        ),
        ("jdbc:postgresql:d", "postgres://localhost:5432/d?sslmode=prefer -"),
        ("jdbc:postgresql://h/?ssl=true&sslmode=require", "postgres://h:5432?sslmode=require -"),
        ("jdbc:postgresql://h/d?ssl=false", "postgres://h:5432/d?sslmode=prefer -"),
        ("jdbc:postgresql://h/d?user=a@b&password=c#d", "postgres://a%40b@h:5432/d?sslmode=prefer c#d"),
        ("jdbc:aws-wrapper:postgresql://h/d", "postgres://h:5432/d?sslmode=prefer -"),
        ("r2dbc:postgresql://u:p@h:1/d", "postgres://u@h:1/d?sslmode=disable p"),
        (
            "r2dbc:pool:postgresql://u:p@h/d?sslMode=VERIFY_FULL&maxSize=3",
            "postgres://u@h:5432/d?sslmode=verify-full p",
        ),
        ("r2dbcs:postgresql://h/d", "postgres://h:5432/d?sslmode=verify-full -"),
        ("host=h port=1 dbname=d user=u password='a b\\'c\\\\'", "postgres://u@h:1/d?sslmode=prefer a b'c\\"),
        ("host = h user=u password=a\\ b", "postgres://u@h:5432?sslmode=prefer a b"),
        ("host=h password=a;b=c", "postgres://h:5432?sslmode=prefer a;b=c"),
        ("hostaddr=10.0.0.1 host=db.example dbname=d", "postgres://db.example:5432/d?sslmode=prefer -"),
        ("hostaddr=10.0.0.1", "postgres://10.0.0.1:5432?sslmode=prefer -"),
        ("dbname=d", "postgres:///d?sslmode=prefer -"),
        (
            "Host=h;Port=1;Username=u;Password=p;Database=d;SSL Mode=VerifyFull;Root Certificate=/ca",
            "postgres://u@h:1/d?sslmode=verify-full p",
        ),
        (
            "server=h1:1,h2;USER ID=u;pwd=\"a;b\"\"c\";Trust Server Certificate=true;SslMode=Require",
            "postgres://u@h1:1,h2:5432?sslmode=require a;b\"c",
        ),
        ("Host=h1:1,h2;Port=7", "postgres://h1:1,h2:7?sslmode=prefer -"),
        ("Host=h; Password='it''s' ; Maximum Pool Size=5;", "postgres://h:5432?sslmode=prefer it's"),
        ("password=x;Host=h", "postgres://h:5432?sslmode=prefer x"),
    ] {
        assert_eq!(brief(&parse(text)), expected, "{text}");
    }
}

#[test]
fn details_beyond_the_brief() {
    let dsn =
        parse("postgres://h/d?sslmode=require&sslrootcert=/ca.pem&connect_timeout=5&pool=3&pgbouncer=true");
    assert_eq!(
        (dsn.ssl_mode, dsn.ssl_root_cert),
        (SslMode::VerifyCa, Some(RootCert::Pem(Pem::File("/ca.pem".into()))))
    );
    assert_eq!(dsn.connect_timeout, Some(Duration::from_secs(5)));
    assert_eq!(dsn.ignored, ["pool", "pgbouncer"]);
    let system = parse("postgres://h/d?sslrootcert=system");
    assert_eq!((system.ssl_mode, system.ssl_root_cert), (SslMode::VerifyFull, Some(RootCert::System)));
    let npgsql = parse("Host=h;SSL Mode=Require;Root Certificate=/ca");
    assert_eq!(
        (npgsql.ssl_mode, npgsql.ssl_root_cert),
        (SslMode::Require, None),
        "Npgsql verifies nothing here"
    );
    let later = parse("postgres://h/d?sslmode=require").with_root_cert("/ca".into());
    assert_eq!(later.ssl_mode, SslMode::VerifyCa);
    assert_eq!(parse("jdbc:postgresql://h/d?currentSchema=s+t").search_path.as_deref(), Some("s t"));
    let options = parse("postgres://h/d?options=-c%20search_path%3Ds%20-cgeqo%3Doff");
    assert_eq!((options.search_path.as_deref(), options.ignored.len()), (Some("s"), 1));
    assert_eq!(parse("hostaddr=::1 host=a").hosts[0].hostaddr, Some("::1".parse().unwrap()));
    assert_eq!(parse("postgres://:5433/d").port, Some(5433));
}

#[test]
fn what_cannot_be_understood_is_an_error_that_echoes_nothing() {
    for (text, expected) in [
        ("", "empty"),
        ("s3cret", "neither a URL"),
        ("mysql://u:s3cret@h/d", "`mysql://` is not"),
        ("s3cret://u@h", "scheme is not one"),
        ("jdbc:mysql://h/s3cret", "JDBC string for something else"),
        ("postgres://u:s3@cret@h/d", "two `@`"),
        ("postgres://u:s3/cret@h/d", "percent-encode"),
        ("postgres://u:12/s3cret@h", "percent-encode"),
        ("postgres://u:12?s3cret=x@h/d", "percent-encode"),
        ("postgres://u:s3cret#x@h/d", "%23"),
        ("postgres://u:s3%cret@h/d", "`%` that is not"),
        ("postgres://u:s3%00cret@h/d", "`%` that is not"),
        ("postgres://u:s3%ffcret@h/d", "not UTF-8"),
        ("postgres://u:s3cret@h:99999/d", "not a port"),
        ("postgres://u:s3cret@h:+1/d", "not a port"),
        ("postgres://u:s3cret@::1/d", "in brackets"),
        ("postgres://u:s3cret@a,,b/d", "host 2 of the list is empty"),
        ("postgres://h/d?frobnicate=s3cret", "setting 1 has a name that is not known"),
        ("postgres://h/d?password=x&s3cret=1", "follows the password"),
        ("postgres://h/d?password=x&s3cret", "parameter 2 has no `=`"),
        ("postgres://h/d?sslmode=s3cret", "`sslmode` is not understood"),
        ("postgres://h/d?sslmode=disable&ssl=true", "contradict"),
        ("postgres://h/d?sslmode=require&sslrootcert=system", "needs sslmode `verify-full`"),
        ("postgres://h/d?service=s3cret", "`service` changes how"),
        ("postgres://h/d?options=project%3Ds3cret", "more than settings"),
        ("postgres://h/d?replication=database", "`replication` is on"),
        ("postgres://h/d?user=a&user=b", "given twice"),
        ("jdbc:postgresql://u:s3cret@h/d", "as parameters"),
        ("jdbc:postgresql://h/d?sslMode=require", "setting 1 has a name that is not known"),
        ("jdbc:postgresql://h/d?socketFactory=s3cret", "`socketFactory` changes"),
        ("r2dbc:postgresql://u:s3+cret@h/d", "%2B"),
        ("host=h password='s3cret", "quote is not closed"),
        ("host=h password=my s3cret", "offset 19"),
        ("host=h password=my s3=cret", "follows the password"),
        ("host=a,b port=1,2,3", "number of ports"),
        ("host=a,b hostaddr=10.0.0.1", "same number"),
        ("host=h passfile=/x", "`passfile` is not read"),
        ("Host=h;Password=s3;cret=1", "follows the password"),
        ("Host=h;Password=\"s3cret", "quote is not closed"),
        ("Host=h;SSL Mode=VerifyFull;Trust Server Certificate=true", "contradicts"),
        ("Host=h;Port=s3cret;", "not a port"),
    ] {
        let error = Dsn::parse(text).map(|dsn| brief(&dsn)).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
        assert!(!error.contains("s3") && !error.contains("cret"), "{text}: {error}");
    }
}

#[test]
fn siblings_fill_what_is_lacking_and_the_url_wins() {
    let siblings = Siblings {
        host: Some("other".into()),
        port: Some("7".into()),
        user: Some("su".into()),
        password: Some(Secret::new("sp")),
        database: Some("sd".into()),
        others: Vec::new(),
    };
    for (text, expected) in [
        ("jdbc:postgresql://h/d", "postgres://su@h:7/d?sslmode=prefer sp"),
        ("postgres://u:p@h:1/d", "postgres://u@h:1/d?sslmode=prefer p"),
        ("postgres://a:1,b", "postgres://su@a:1,b:7/sd?sslmode=prefer sp"),
        ("dbname=d", "postgres://su@other:7/d?sslmode=prefer sp"),
        ("postgres://:9/d", "postgres://su@other:9/d?sslmode=prefer sp"),
    ] {
        assert_eq!(brief(&parse(text).with_siblings(&siblings).unwrap()), expected, "{text}");
    }
    let others = vec![("sslmode".to_owned(), "verify-full".to_owned())];
    let parts = Dsn::from_parts(&Siblings { host: Some("a,b".into()), others, ..siblings }).unwrap();
    assert_eq!(brief(&parts), "postgres://su@a:7,b:7/sd?sslmode=verify-full sp");
}

#[test]
fn a_fingerprint_is_where_and_who() {
    let print = |text: &str| parse(text).fingerprint();
    assert_eq!(print("postgres://u:p@H/d"), print("jdbc:postgresql://h:5432/d?user=u&password=q&ssl=true"));
    assert_eq!(print("postgres://u@h"), print("postgres://u@h./u"));
    assert_ne!(print("postgres://u@h/d"), print("postgres://v@h/d"));
    assert_ne!(print("postgres://u@h/d"), print("postgres://u@h:1/d"));
    // Pinned: exporters of two versions compare it.
    assert_eq!(print("postgres://u@h/d"), "afb5b253b49e0d1c");
}

fn any_text() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec![
        '@', ':', '/', '?', '#', '%', '&', '=', '+', ';', '\'', '"', '\\', ' ', ',', 'é', '語',
    ]);
    prop::collection::vec(prop_oneof![odd, any::<char>().prop_filter("NUL", |c| *c != '\0')], 1..12)
        .prop_map(|chars| chars.into_iter().collect())
}

fn write_form(form: DsnForm, user: &str, password: &str, database: &str) -> String {
    let single = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let double = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    match form {
        DsnForm::Url => {
            format!("postgres://{}:{}@h:1/{}", encoded(user), encoded(password), encoded(database))
        }
        DsnForm::Jdbc => {
            format!(
                "jdbc:postgresql://h:1/{}?user={}&password={}",
                encoded(database),
                encoded(user),
                encoded(password)
            )
        }
        DsnForm::R2dbc => {
            format!("r2dbc:postgresql://{}:{}@h:1/{}", encoded(user), encoded(password), encoded(database))
        }
        DsnForm::KeyValue | DsnForm::Parts => {
            format!(
                "host=h port=1 user={} password={} dbname={}",
                single(user),
                single(password),
                single(database)
            )
        }
        DsnForm::Npgsql => {
            format!(
                "Host=h;Port=1;Username={};Password={};Database={}",
                double(user),
                double(password),
                double(database)
            )
        }
    }
}

#[test]
fn a_piece_of_a_password_is_not_repeated_as_a_name() {
    // By its semicolon this is read as the .NET form, in which the piece behind it stands where a name belongs.
    let error = Dsn::parse("host=h user=a password=;hunter2canary =").unwrap_err().to_string();
    assert_eq!(error, "setting 2 has a name that is not known in this form");
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(user in any_text(), password in any_text(), database in any_text()) {
        for form in [DsnForm::Url, DsnForm::Jdbc, DsnForm::R2dbc, DsnForm::KeyValue, DsnForm::Npgsql] {
            let text = write_form(form, &user, &password, &database);
            let dsn = Dsn::parse(&text).map_err(|error| TestCaseError::fail(format!("{form:?} {text:?}: {error}")))?;
            prop_assert_eq!(dsn.form, form);
            prop_assert_eq!(dsn.user.as_deref(), Some(user.as_str()));
            prop_assert_eq!(dsn.password.as_ref().map(Secret::expose), Some(password.as_str()));
            prop_assert_eq!(dsn.database.as_deref(), Some(database.as_str()));
            prop_assert_eq!(dsn.hosts.len(), 1);
            prop_assert_eq!(dsn.hosts[0].port(), 1);
        }
    }

    #[test]
    fn nothing_panics(text in "\\PC{0,60}", tail in any_text()) {
        for head in ["", "postgres://", "jdbc:postgresql:", "r2dbc:postgresql://", "host=", "Host=h;"] {
            if let Ok(dsn) = Dsn::parse(&format!("{head}{text}{tail}")) {
                let _ = (dsn.to_string(), dsn.fingerprint());
            }
        }
    }

    #[test]
    fn a_password_is_never_shown(before in any_text(), after in any_text(), user in "[a-z]{1,5}") {
        const CANARY: &str = "hunter2canary";
        // Written properly, and pasted in as it is: both must keep quiet, understood or not.
        let password = format!("{before}{CANARY}{after}");
        let mut texts: Vec<_> = [DsnForm::Url, DsnForm::Jdbc, DsnForm::KeyValue, DsnForm::Npgsql]
            .map(|form| write_form(form, &user, &password, "d")).into();
        texts.push(format!("host=h user={user} password={password}"));
        texts.push(format!("Host=h;Username={user};Password={password}"));
        texts.push(format!("jdbc:postgresql://h/d?user={user}&password={password}"));
        texts.push(format!("postgres://h/d?password={password}"));
        for text in texts {
            match Dsn::parse(&text) {
                // Pasted in raw, a piece of it can be a well-formed other setting; then it is none of the password's.
                Ok(dsn) if dsn.password.as_ref().is_some_and(|read| read.expose().contains(CANARY)) => {
                    let shown = format!("{dsn} {dsn:?}");
                    prop_assert!(!shown.contains(CANARY));
                }
                Ok(_) => {}
                Err(error) => prop_assert!(!error.to_string().contains(CANARY), "{}", error),
            }
        }
    }
}
