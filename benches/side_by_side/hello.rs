//! Bare hyper that answers every request with the same body: the floor under any proxy on hyper.
//! Built and started by `benches/side_by_side/run`.
//!
//! `hello LISTEN BYTES`: the body is BYTES long; the answer has the header fields that a stored
//! response of Larder's has, so that both write as much.

use std::convert::Infallible;
use std::error::Error;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// The same allocator as Larder's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().ok_or("hello LISTEN BYTES")?;
    let bytes: usize = arguments.next().ok_or("hello LISTEN BYTES")?.parse()?;
    let body = Bytes::from(vec![b'x'; bytes]);
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let body = body.clone();
        tokio::spawn(async move {
            let service = service_fn(move |_: Request<Incoming>| {
                let body = body.clone();
                async move {
                    let response = Response::builder()
                        .header("content-type", "text/plain")
                        .header("cache-control", "max-age=3600")
                        .body(Full::new(body));
                    Ok::<_, Infallible>(response.unwrap_or_default())
                }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
