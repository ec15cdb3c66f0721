//! The demo's sample app: slow, and otherwise a well-behaved origin.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

/// What every page takes, as if a database were asked.
const WORK: Duration = Duration::from_millis(200);

/// A running sample app; it ends with its runtime.
#[derive(Debug)]
pub(super) struct App {
    address: SocketAddr,
    requests: Arc<AtomicU64>,
}

impl App {
    /// Starts it on a free port of this machine.
    pub(super) async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let requests = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    // Descriptors are short, most likely: try again in a moment.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let seen = Arc::clone(&seen);
                let service = service_fn(move |request| {
                    seen.fetch_add(1, Ordering::Relaxed);
                    answer(request)
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Ok(Self { address, requests })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests that reached it.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path();
    let (status, kind, cache, body) = match path {
        "/" => (StatusCode::OK, "text/html; charset=utf-8", "max-age=60", page()),
        "/api/products" => (StatusCode::OK, "application/json", "max-age=60", products()),
        "/api/me" => {
            let me = json!({ "name": "Ada", "cart": 3 }).to_string();
            (StatusCode::OK, "application/json", "private, no-store", me)
        }
        _ => (StatusCode::NOT_FOUND, "text/plain", "no-store", "no such page\n".to_owned()),
    };
    tokio::time::sleep(WORK).await;
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    if cache == "max-age=60" {
        headers.insert(ETAG, HeaderValue::from_static("\"demo-1\""));
    }
    Ok(response)
}

fn products() -> String {
    let names = ["Apples", "Bread", "Cheese", "Dates", "Eggs", "Figs", "Grapes", "Honey"];
    let products: Vec<_> = names
        .iter()
        .cycle()
        .take(200)
        .enumerate()
        .map(|(id, name)| {
            json!({
                "id": id,
                "name": format!("{name} {id}"),
                "price": f64::from(u32::try_from(id * 37 % 900).unwrap_or(0)) / 100.0,
                "description": "Kept in the larder, fresh for a minute.",
            })
        })
        .collect();
    json!({ "products": products }).to_string()
}

fn page() -> String {
    let mut rows = String::new();
    for n in 1..=60 {
        let _ = writeln!(rows, "    <li>Shelf {n}: something that took 200 ms to find</li>");
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n  <head><title>Larder's sample app</title></head>\n  \
         <body>\n  <h1>Larder's sample app</h1>\n  <p>This page took 200 ms to make. Reload it: \
         for a minute it comes from the cache.\n  Then look at <a href=\"/api/products\">\
         /api/products</a> (cached) and <a href=\"/api/me\">/api/me</a>\n  (private: never \
         cached).</p>\n  <ul>\n{rows}  </ul>\n  </body>\n</html>\n"
    )
}
