//! How the application answers a request, honest or not.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::super::http::{Body, respond, whole};
use super::{Behaviour, Business, Claim, Counting, Fault, Shared, connect, now};

const LONG_AGO: &str = r#"{"service":"orders","orders":[{"id":1,"customer":"somebody","amount":1.0}],"as_of":"2020-01-01T00:00:00Z"}"#;

pub(super) async fn answer(shared: &Shared, request: Request<Incoming>) -> Response<Body> {
    let behaviour = shared.behaviour.lock().unwrap().clone();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    if behaviour.catch_all {
        return respond(StatusCode::OK, "text/html", "<html><body><h1>Welcome to nginx!</h1></body></html>");
    }
    let mut response = match behaviour.faults.get(&path) {
        Some(fault) => broken(fault).await,
        None if path == "/metrics" => return metrics(shared, &behaviour),
        None => honest(shared, &behaviour, &request, &path).await,
    };
    response.headers_mut().insert("x-service", "orders".parse().expect("a header"));
    count(shared, &behaviour, &method, &path, response.status());
    response
}

async fn honest(
    shared: &Shared,
    behaviour: &Behaviour,
    request: &Request<Incoming>,
    path: &str,
) -> Response<Body> {
    if path.starts_with("/api/") {
        tokio::time::sleep(behaviour.latency).await;
        let wanted = behaviour.token.as_ref().map(|token| format!("Bearer {token}"));
        let given = request.headers().get("authorization").and_then(|v| v.to_str().ok());
        if wanted.is_some() && wanted.as_deref() != given {
            return say(StatusCode::UNAUTHORIZED, &json!({"service": "orders", "error": "login needed"}));
        }
    }
    match (request.method().as_str(), path) {
        ("GET", "/health") => claim(shared, &behaviour.health).await,
        ("GET", "/ready") => claim(shared, &behaviour.ready).await,
        ("GET", "/api/v1/orders") => {
            let query = "select json_build_object('id', id, 'customer', customer, 'amount', amount, 'created_at', created_at)::text from orders order by id desc limit 10";
            list(shared, behaviour, "orders", query).await
        }
        ("GET", "/api/v1/users") => {
            let query =
                "select json_build_object('id', id, 'name', name)::text from users order by id limit 10";
            list(shared, behaviour, "users", query).await
        }
        ("POST", "/api/v1/orders") => {
            match shared
                .query("insert into orders (customer, amount) values ('a-user', 1) returning id::text")
                .await
            {
                Ok(rows) => {
                    say(StatusCode::CREATED, &json!({"service": "orders", "id": rows[0].get::<_, String>(0)}))
                }
                Err(_) => {
                    say(StatusCode::INTERNAL_SERVER_ERROR, &json!({"service": "orders", "error": "database"}))
                }
            }
        }
        _ => say(StatusCode::NOT_FOUND, &json!({"service": "orders", "error": "no such route"})),
    }
}

async fn claim(shared: &Shared, claim: &Claim) -> Response<Body> {
    let body = |status: &str, at: String| json!({"status": status, "service": "orders", "site": shared.site, "checked_at": at});
    let (code, status, at) = match claim {
        Claim::Honest => verdict(shared.query("select 1").await.is_ok()),
        Claim::OtherDatabase(dsn) => verdict(reachable(dsn).await),
        Claim::StaticOk => (StatusCode::OK, "ok", now()),
        Claim::Frozen => (StatusCode::OK, "ok", shared.started.clone()),
        Claim::OkButDegraded => (StatusCode::OK, "degraded", now()),
        Claim::UnavailableButOk => (StatusCode::SERVICE_UNAVAILABLE, "ok", now()),
    };
    say(code, &body(status, at))
}

fn verdict(answered: bool) -> (StatusCode, &'static str, String) {
    if answered {
        (StatusCode::OK, "ok", now())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable", now())
    }
}

async fn reachable(dsn: &str) -> bool {
    let work = async { connect(dsn).await.ok()?.client.simple_query("select 1").await.ok() };
    tokio::time::timeout(Duration::from_secs(2), work).await.is_ok_and(|answer| answer.is_some())
}

async fn list(shared: &Shared, behaviour: &Behaviour, name: &str, query: &str) -> Response<Body> {
    match behaviour.business {
        Business::Memory => {
            let body = shared.remembered.lock().unwrap().clone().unwrap_or_else(|| LONG_AGO.to_owned());
            respond(StatusCode::OK, "application/json", body)
        }
        Business::Database => match shared.query(query).await {
            Ok(rows) => {
                let rows: Vec<Value> = rows
                    .iter()
                    .map(|row| serde_json::from_str(row.get(0)).expect("JSON of the server"))
                    .collect();
                let body = json!({"service": "orders", "site": shared.site, name: rows, "as_of": now()});
                *shared.remembered.lock().unwrap() = Some(body.to_string());
                say(StatusCode::OK, &body)
            }
            Err(_) => {
                say(StatusCode::SERVICE_UNAVAILABLE, &json!({"service": "orders", "error": "database"}))
            }
        },
    }
}

fn say(status: StatusCode, body: &Value) -> Response<Body> {
    respond(status, "application/json", body.to_string())
}

async fn broken(fault: &Fault) -> Response<Body> {
    let body = match fault {
        Fault::Hang => std::future::pending().await,
        Fault::Fixed(status, body) => {
            return respond(
                StatusCode::from_u16(*status).expect("a status"),
                "application/json",
                body.clone(),
            );
        }
        Fault::Redirect(to) => {
            let mut response = respond(StatusCode::FOUND, "text/plain", "");
            response.headers_mut().insert("location", to.parse().expect("a location"));
            return response;
        }
        Fault::Huge(size) => whole(vec![b'x'; *size]),
        Fault::Endless => {
            let chunk = Bytes::from(vec![b'x'; 64 * 1024]);
            StreamBody::new(stream::repeat_with(move || Ok(Frame::data(chunk.clone())))).boxed_unsync()
        }
        Fault::Trickle(pause) => {
            let pause = *pause;
            let bytes = stream::repeat(()).then(move |()| async move {
                tokio::time::sleep(pause).await;
                Ok(Frame::data(Bytes::from_static(b"x")))
            });
            StreamBody::new(bytes).boxed_unsync()
        }
        Fault::Cut => {
            let half = stream::iter([
                Ok(Frame::data(Bytes::from_static(br#"{"status":"#))),
                Err(io::Error::from(io::ErrorKind::ConnectionReset)),
            ]);
            StreamBody::new(half).boxed_unsync()
        }
    };
    Response::builder().header("content-type", "application/json").body(body).expect("a valid response")
}

fn count(shared: &Shared, behaviour: &Behaviour, method: &Method, path: &str, status: StatusCode) {
    let mut counters = shared.counters.lock().unwrap();
    if status.is_server_error() {
        counters.fail();
    }
    match &behaviour.counting {
        Counting::Honest => {
            counters.add(method.as_str(), path, status.as_u16(), 1);
        }
        Counting::SuccessOnly if status.is_success() => {
            counters.add(method.as_str(), path, status.as_u16(), 1);
        }
        Counting::Renamed(prefix) => {
            counters.add(method.as_str(), &format!("{prefix}{path}"), status.as_u16(), 1);
        }
        Counting::SuccessOnly | Counting::Dead => {}
    }
}

fn metrics(shared: &Shared, behaviour: &Behaviour) -> Response<Body> {
    let connected = shared.pool.try_lock().is_ok_and(|pool| pool.is_some());
    let (kind, text) = shared.counters.lock().unwrap().render(behaviour, connected);
    if !behaviour.gzip {
        return respond(StatusCode::OK, kind, text);
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).expect("compress in memory");
    let mut response = respond(StatusCode::OK, kind, encoder.finish().expect("compress in memory"));
    response.headers_mut().insert("content-encoding", "gzip".parse().expect("a header"));
    response
}
