//! `/dr-ready/<system>`: what moves users may be pointed at it.

use std::time::Duration;

use crate::lab::{Claim, Config, Exporter, Fault, Site, eventually};

async fn becomes(exporter: &Exporter, status: u16) -> String {
    eventually(&format!("/dr-ready/orders answers {status}"), Duration::from_secs(6), async || {
        let reply = exporter.get("/dr-ready/orders").await;
        let text = reply.text();
        assert_eq!(reply.status == 200, text.contains("DR_READY"), "{text}");
        assert_eq!(reply.status == 200, text.starts_with("DR_READY 20"), "{text}");
        if reply.status == status { Ok(text) } else { Err(text) }
    })
    .await
}

#[tokio::test]
async fn a_fault_takes_it_away_and_the_repair_brings_it_back() {
    let site = Site::start().await;
    // The site goes on saying that it is well, whatever happens behind it.
    site.app.behave(|b| b.health = Claim::StaticOk);
    let exporter =
        site.config().request("list_orders", &site.app.url("/api/v1/orders"), "timeout: 500ms").start().await;
    let first = becomes(&exporter, 200).await;
    assert!(first.contains("orders at dr-west is usable since 20"), "{first}");

    site.app.behave(|b| drop(b.faults.insert("/api/v1/orders".to_owned(), Fault::Fixed(500, String::new()))));
    let text = becomes(&exporter, 503).await;
    assert!(text.contains("synthetic_request of list_orders failed: http_status"), "{text}");
    assert!(!text.contains("127."), "no addresses: {text}");
    assert_eq!(exporter.get("/-/ready").await.status, 200, "the exporter itself is well");

    site.app.behave(|b| b.faults.clear());
    becomes(&exporter, 200).await;

    // Frozen for longer than three intervals: the first answer afterwards is not one from before.
    exporter.freeze();
    tokio::time::sleep(Duration::from_secs(4)).await;
    exporter.thaw();
    let reply = exporter.get("/dr-ready/orders").await;
    let text = reply.text();
    // It may have asked again within the same moment: then what it rests on is new.
    assert!(reply.status == 503 || !first.contains(text.lines().last().unwrap_or_default()), "{text}");
    becomes(&exporter, 200).await;
}

#[tokio::test]
async fn heads_names_and_methods() {
    let exporter = Config::default().surface("health", "http://127.0.0.1:1/", "decisive: true").start().await;
    for (path, status) in [
        ("/dr-ready/orders", 503),
        ("/dr-ready/%6frders", 503),
        ("/dr-ready/orders?from=route53", 503),
        ("/dr-ready/", 404),
        ("/dr-ready", 404),
        ("/dr-ready/Orders", 404),
        ("/dr-ready/orders/", 404),
        ("/dr-ready/%ff", 404),
        ("/dr-ready/DR_READY", 404),
    ] {
        let reply = exporter.get(path).await;
        assert_eq!(reply.status, status, "{path}");
        assert!(!reply.text().contains("DR_READY"), "{path}: {}", reply.text());
        assert_eq!(reply.header("cache-control"), "no-store", "{path}");
    }
    let head =
        crate::lab::http::client().head(exporter.url("/dr-ready/orders")).send().await.expect("an answer");
    assert_eq!((head.status().as_u16(), head.text().await.expect("a text")), (503, String::new()));
}
