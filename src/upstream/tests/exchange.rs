//! What goes to the origin and what comes back when nothing fails.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, TRAILER, UPGRADE};
use http::{HeaderMap, HeaderValue, Method};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::origin::{Origin, Peer, data, eventually, fed, fetch, get, pool, request, upstream};
use crate::config::snapshot::Address;
use crate::upstream::{RequestBody, upgrade};

#[tokio::test]
async fn a_request_goes_out_in_origin_form_and_its_answer_comes_back() {
    let origin = Origin::start(|_, mut peer| async move {
        let head = peer.head().await;
        let body = peer.read(5).await;
        let echo = format!("{head}{}", String::from_utf8(body).unwrap());
        let length = echo.len();
        peer.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{echo}")).await;
    })
    .await;
    let mut asked = request(Method::PUT, RequestBody::Full(Bytes::from_static(b"hello")));
    *asked.uri_mut() = "http://elsewhere/a?b=c".parse().unwrap();
    *asked.version_mut() = http::Version::HTTP_10;
    let echo = fetch(&pool().0, &origin.upstream(), asked).await.unwrap();
    assert!(echo.starts_with("PUT /a?b=c HTTP/1.1\r\n"), "{echo}");
    assert!(echo.contains("host: origin\r\n") && echo.contains("content-length: 5\r\n"), "{echo}");
    assert!(echo.ends_with("\r\n\r\nhello"), "{echo}");
}

#[tokio::test]
async fn bodies_stream_both_ways_with_their_trailers() {
    let origin = Origin::start(|_, mut peer| async move {
        let head = peer.head().await;
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        let expected = "3\r\nabc\r\n3\r\ndef\r\n0\r\nx-sum: 6\r\n\r\n";
        assert_eq!(peer.read(8).await, &expected.as_bytes()[..8]);
        peer.say(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-end\r\n\r\n1\r\nA\r\n",
        )
        .await;
        assert_eq!(peer.read(expected.len() - 8).await, &expected.as_bytes()[8..]);
        peer.say("1\r\nB\r\n0\r\nX-End: yes\r\n\r\n").await;
        peer.head().await;
    })
    .await;
    let (pool, metrics) = pool();
    let (feed, body) = fed();
    let mut asked = request(Method::POST, body);
    asked.headers_mut().insert(TRAILER, HeaderValue::from_static("x-sum"));
    feed.send(data("abc")).unwrap();
    // The answer begins while the request is still being sent.
    let mut answer = pool.send(&origin.upstream(), asked).await.unwrap();
    let first = answer.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "A");
    feed.send(data("def")).unwrap();
    let mut sums = HeaderMap::new();
    sums.insert("x-sum", HeaderValue::from_static("6"));
    feed.send(Ok(Frame::trailers(sums))).unwrap();
    drop(feed);
    let rest = answer.into_body().collect().await.unwrap();
    assert_eq!(rest.trailers().unwrap()["x-end"], "yes");
    assert_eq!(rest.to_bytes(), "B");
    eventually("the connection is idle again", || pool.idle() == 1).await;
    assert_eq!(metrics.upstream.up.get(), 1);
}

#[tokio::test]
async fn interim_responses_are_skipped_and_bodiless_answers_have_no_body() {
    let origin = Origin::start(|_, mut peer| async move {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ] {
            peer.head().await;
            peer.say(answer).await;
        }
        peer.head().await;
    })
    .await;
    let (pool, metrics) = pool();
    let to = origin.upstream();
    for method in [Method::HEAD, Method::GET, Method::GET, Method::GET] {
        let answer = pool.send(&to, request(method, RequestBody::Empty)).await.unwrap();
        assert!(answer.status().as_u16() >= 200);
        assert!(answer.body().is_end_stream());
        drop(answer);
        eventually("the connection is idle again", || pool.idle() == 1).await;
    }
    assert_eq!(origin.connections(), 1);
    assert_eq!(metrics.upstream.reused.get(), 3);
}

#[tokio::test]
async fn an_answer_without_length_ends_with_the_connection() {
    let close = "HTTP/1.1 200 OK\r\n\r\nall of it";
    let gzip = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nall of it";
    for bytes in [close, gzip, "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nall of it"] {
        let origin = Origin::start(move |_, mut peer| async move {
            peer.head().await;
            peer.say(bytes).await;
        })
        .await;
        let (pool, _) = pool();
        assert_eq!(fetch(&pool, &origin.upstream(), get()).await.unwrap(), "all of it");
        assert_eq!(fetch(&pool, &origin.upstream(), get()).await.unwrap(), "all of it");
        assert_eq!(origin.connections(), 2);
    }
}

#[tokio::test]
async fn an_upgrade_makes_a_tunnel_and_keeps_its_first_bytes() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhi\0\n")
            .await;
        let heard = peer.read(5).await;
        peer.say(heard).await;
    })
    .await;
    let (pool, metrics) = pool();
    let mut asked = get();
    asked.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    asked.headers_mut().insert(UPGRADE, HeaderValue::from_static("echo"));
    let mut answer = pool.send(&origin.upstream(), asked).await.unwrap();
    assert_eq!(answer.status(), 101);
    let tunnel = upgrade(&mut answer);
    drop(answer);
    let mut tunnel = TokioIo::new(tunnel.await.unwrap());
    tunnel.write_all(b"a\r\n\0b").await.unwrap();
    let mut heard = Vec::new();
    tunnel.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"hi\0\na\r\n\0b");
    assert_eq!(metrics.upstream.connections.get(), 1);
    drop(tunnel);
    eventually("the tunnel counts no more", || metrics.upstream.connections.get() == 0).await;
}

#[tokio::test]
async fn a_unix_socket_is_an_origin_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let origin = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut peer = Peer(stream);
        for _ in 0..2 {
            peer.head().await;
            peer.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix").await;
        }
        peer.head().await;
    });
    let (pool, metrics) = pool();
    let to = Arc::new(upstream(Address::Unix(path)));
    for _ in 0..2 {
        assert_eq!(fetch(&pool, &to, get()).await.unwrap(), "unix");
        eventually("the connection is idle again", || pool.idle() == 1).await;
    }
    assert_eq!(metrics.upstream.reused.get(), 1);
    drop(pool);
    origin.await.unwrap();
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_whole_in_the_end() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.0.set_nodelay(true).unwrap();
        peer.head().await;
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: b\r\n\r\nabc";
        for byte in answer.as_bytes() {
            peer.say([*byte]).await;
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        peer.head().await;
    })
    .await;
    let (pool, _) = pool();
    assert_eq!(fetch(&pool, &origin.upstream(), get()).await.unwrap(), "abc");
    eventually("the connection is idle again", || pool.idle() == 1).await;
}

#[tokio::test]
async fn a_large_answer_arrives_byte_for_byte() {
    let body: Arc<Vec<u8>> = Arc::new((0..3_000_000_u32).map(|n| (n % 251) as u8).collect());
    let sent = Arc::clone(&body);
    let origin = Origin::start(move |_, mut peer| {
        let sent = Arc::clone(&sent);
        async move {
            peer.head().await;
            peer.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len())).await;
            peer.say(sent.as_slice()).await;
            peer.head().await;
        }
    })
    .await;
    let (pool, _) = pool();
    let answer = pool.send(&origin.upstream(), get()).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), body.as_slice());
    eventually("the connection is idle again", || pool.idle() == 1).await;
}
