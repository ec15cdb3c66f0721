//! What the origin, or the client, may do wrong.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use super::origin::{Origin, data, eventually, fed, fetch, get, pool, request, upstream};
use crate::config::snapshot::Address;
use crate::observe::metrics::{Count, Metrics, UpstreamErrorKind};
use crate::upstream::{RequestBody, UpstreamError};

/// A bound that a test waits out.
const SHORT: Duration = Duration::from_millis(80);
/// A bound that must hold on a busy machine, too.
const AMPLE: Duration = Duration::from_millis(800);

fn counted(metrics: &Metrics, kind: UpstreamErrorKind) -> u64 {
    metrics.upstream.errors[kind as usize].get()
}

#[tokio::test]
async fn malformed_answers_never_pass() {
    let answers: &[&str] = &[
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokk\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a\nY: b\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a\0b\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a\rb\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a\r\n b\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\n: 2\r\n\r\nok",
        "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 xx OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "ICY 200 OK\r\n\r\nok",
        "hello\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nSURPLUS",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nSURPLUS",
        "HTTP/1.1 204 No Content\r\n\r\nSURPLUS",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ];
    for answer in answers {
        let origin = Origin::start(move |_, mut peer| async move {
            peer.head().await;
            peer.say(answer).await;
            peer.head().await;
        })
        .await;
        let (pool, metrics) = pool();
        let error = fetch(&pool, &origin.upstream(), get()).await;
        let Err(UpstreamError::Malformed(reason)) = error else {
            panic!("{answer:?} gave {error:?}");
        };
        assert!(!reason.is_empty());
        assert_eq!(counted(&metrics, UpstreamErrorKind::Malformed), 1, "{answer:?}");
        eventually("its connection is closed", || metrics.upstream.connections.get() == 0).await;
        assert_eq!(pool.idle(), 0, "{answer:?}");
    }
}

#[tokio::test]
async fn an_answer_longer_than_it_says_is_whole_and_the_last_on_its_connection() {
    for at_once in [true, false] {
        let origin = Origin::start(move |_, mut peer| async move {
            peer.head().await;
            if at_once {
                peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokSURPLUS").await;
            } else {
                peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no").await;
                peer.say("kSURPLUS").await;
            }
            peer.head().await;
        })
        .await;
        let (pool, metrics) = pool();
        for _ in 0..2 {
            assert_eq!(fetch(&pool, &origin.upstream(), get()).await.unwrap(), "ok");
            eventually("its connection is closed", || metrics.upstream.connections.get() == 0)
                .await;
            assert_eq!(pool.idle(), 0);
        }
        assert_eq!(origin.connections(), 2);
    }
}

#[tokio::test]
async fn bad_chunking_after_the_head_has_passed_breaks_the_body_off() {
    for bad in ["zz\r\n", "2\nok\r\n", "2\r\nokX", "0\r\n\r\nSURPLUS"] {
        let (go, gone) = oneshot::channel();
        let gone = Arc::new(parking_lot::Mutex::new(Some(gone)));
        let origin = Origin::start(move |_, mut peer| {
            let gone = gone.lock().take().unwrap();
            async move {
                peer.head().await;
                peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n")
                    .await;
                gone.await.unwrap();
                peer.say(bad).await;
                peer.head().await;
            }
        })
        .await;
        let (pool, metrics) = pool();
        let mut answer = pool.send(&origin.upstream(), get()).await.unwrap();
        let first = answer.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "good");
        go.send(()).unwrap();
        let error = answer.body_mut().frame().await.unwrap().unwrap_err();
        assert!(matches!(error, UpstreamError::Malformed(_)), "{bad:?}: {error}");
        assert!(!answer.body().is_end_stream());
        assert_eq!((metrics.upstream.connections.get(), pool.idle()), (0, 0));
        assert_eq!(counted(&metrics, UpstreamErrorKind::Malformed), 1);
    }
}

#[tokio::test]
async fn a_head_beyond_the_bounds_is_malformed() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(70_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: a\r\n".repeat(101));
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "X: aaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(90));
    for (answer, repeat) in [(long, 1), (many, 1), (endless, 100)] {
        let answer = Arc::new(answer);
        let origin = Origin::start(move |_, mut peer| {
            let answer = Arc::clone(&answer);
            async move {
                peer.head().await;
                for _ in 0..repeat {
                    peer.say(answer.as_bytes()).await;
                }
                peer.head().await;
            }
        })
        .await;
        let error = fetch(&pool().0, &origin.upstream(), get()).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Malformed(_)), "{error}");
    }
}

#[tokio::test]
async fn a_cut_answer_never_ends_cleanly() {
    let answers: &[&str] = &[
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n",
    ];
    for answer in answers {
        let origin = Origin::start(move |_, mut peer| async move {
            peer.head().await;
            peer.say(answer).await;
        })
        .await;
        let (pool, metrics) = pool();
        let error = fetch(&pool, &origin.upstream(), get()).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Closed), "{answer:?}: {error}");
        assert_eq!(counted(&metrics, UpstreamErrorKind::Closed), 1, "{answer:?}");
        assert_eq!(pool.idle(), 0);
    }
}

#[tokio::test]
async fn a_reset_ends_an_answer_without_length_with_an_error() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\n\r\nbegin").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        socket2::SockRef::from(&peer.0).set_linger(Some(Duration::ZERO)).unwrap();
    })
    .await;
    let error = fetch(&pool().0, &origin.upstream(), get()).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Closed), "{error}");
}

#[tokio::test]
async fn nobody_there_is_told_apart_from_nobody_answering() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = gone.local_addr().unwrap().port();
    drop(gone);
    let (pool, metrics) = pool();
    let refusing = Arc::new(upstream(Address::Tcp { host: "127.0.0.1".into(), port }));
    let error = fetch(&pool, &refusing, get()).await.unwrap_err();
    assert_eq!(error.proxy_error(), "connection_refused");
    assert_eq!(counted(&metrics, UpstreamErrorKind::Connect), 1);
    let missing = Arc::new(upstream(Address::Unix("/nonexistent/socket".into())));
    let error = fetch(&pool, &missing, get()).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Connect(_)), "{error}");
    let nameless = Arc::new(upstream(Address::Tcp { host: "no such host.invalid".into(), port }));
    let error = fetch(&pool, &nameless, get()).await.unwrap_err();
    assert_eq!(error.proxy_error(), "dns_error", "{error:?}");
    assert_eq!(metrics.upstream.up.get(), 0);
}

#[tokio::test]
async fn a_full_backlog_is_a_connect_timeout() {
    // A listener that never accepts, its queue filled: further SYNs are dropped.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut fill = Vec::new();
    for _ in 0..4 {
        let connect = tokio::net::TcpStream::connect(address);
        if let Ok(Ok(stream)) = tokio::time::timeout(SHORT, connect).await {
            fill.push(stream);
        }
    }
    let mut config =
        upstream(Address::Tcp { host: address.ip().to_string(), port: address.port() });
    config.connect_timeout = SHORT;
    let (pool, metrics) = pool();
    let error = fetch(&pool, &Arc::new(config), get()).await.unwrap_err();
    assert!(matches!(error, UpstreamError::ConnectTimeout), "{error}");
    assert_eq!(counted(&metrics, UpstreamErrorKind::ConnectTimeout), 1);
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_is_waited_for_no_longer() {
    for begin in ["", "HTTP/1.1 200 OK\r\nX"] {
        let origin = Origin::start(move |_, mut peer| async move {
            peer.head().await;
            peer.say(begin).await;
            let _ = peer.rest().await;
        })
        .await;
        let (pool, metrics) = pool();
        let mut config = origin.config();
        config.first_byte_timeout = SHORT;
        let began = Instant::now();
        let error = fetch(&pool, &Arc::new(config), get()).await.unwrap_err();
        assert!(matches!(error, UpstreamError::FirstByteTimeout), "{error}");
        assert!(began.elapsed() >= SHORT && began.elapsed() < 20 * SHORT, "{:?}", began.elapsed());
        assert_eq!(counted(&metrics, UpstreamErrorKind::FirstByteTimeout), 1);
        assert_eq!(metrics.upstream.connections.get(), 0);
    }
}

#[tokio::test]
async fn a_slow_upload_is_not_the_origins_delay() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.head().await;
        peer.read("1\r\nx\r\n".len() * 2 + "0\r\n\r\n".len()).await;
        peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        peer.head().await;
    })
    .await;
    let mut config = origin.config();
    config.first_byte_timeout = AMPLE;
    let (feed, body) = fed();
    let upload = async move {
        for _ in 0..2 {
            tokio::time::sleep(AMPLE * 5 / 4).await;
            feed.send(data("x")).unwrap();
        }
    };
    let (pool, to) = (pool().0, Arc::new(config));
    let (answer, ()) = tokio::join!(fetch(&pool, &to, request(Method::POST, body)), upload);
    assert_eq!(answer.unwrap(), "ok");
}

#[tokio::test]
async fn a_body_that_pauses_for_too_long_breaks_off() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").await;
        for _ in 0..5 {
            tokio::time::sleep(AMPLE / 4).await; // together longer than the bound
            peer.say("x").await;
        }
        let _ = peer.rest().await;
    })
    .await;
    let (pool, metrics) = pool();
    let mut config = origin.config();
    config.between_bytes_timeout = AMPLE;
    let mut answer = pool.send(&Arc::new(config), get()).await.unwrap();
    let mut read = 0;
    let error = loop {
        match answer.body_mut().frame().await.unwrap() {
            Ok(frame) => read += frame.into_data().unwrap().len(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, UpstreamError::BetweenBytesTimeout), "{error}");
    assert_eq!(read, 5);
    assert_eq!(counted(&metrics, UpstreamErrorKind::BetweenBytesTimeout), 1);
    assert_eq!(metrics.upstream.connections.get(), 0);
    assert!(answer.body_mut().frame().await.is_none());
}

#[tokio::test]
async fn an_event_stream_may_pause_for_as_long_as_it_is_given() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n").await;
        tokio::time::sleep(SHORT * 3).await;
        peer.say("x").await;
        peer.head().await;
    })
    .await;
    let mut config = origin.config();
    config.between_bytes_timeout = SHORT;
    let mut answer = pool().0.send(&Arc::new(config), get()).await.unwrap();
    answer.body_mut().set_between_bytes_timeout(SHORT * 50);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "x");
}

#[tokio::test]
async fn a_request_that_breaks_off_resets_the_connection() {
    for sized in [false, true] {
        let (tell, told) = oneshot::channel();
        let (feed, body) = fed();
        feed.send(data("abc")).unwrap();
        let tell = Arc::new(parking_lot::Mutex::new(Some((feed, tell))));
        let origin = Origin::start(move |_, mut peer| {
            let tell = Arc::clone(&tell);
            async move {
                peer.head().await;
                assert!(peer.read(3).await.starts_with(if sized { b"abc" } else { b"3\r\n" }));
                let (feed, tell) = tell.lock().take().unwrap();
                let _: Result<_, _> = feed.send(Err("the client went away".into()));
                tell.send(peer.rest().await).unwrap();
            }
        })
        .await;
        let (pool, metrics) = pool();
        let mut asked = request(Method::POST, body);
        if sized {
            asked.headers_mut().insert("content-length", "100".parse().unwrap());
        }
        let error = fetch(&pool, &origin.upstream(), asked).await.unwrap_err();
        let UpstreamError::RequestBody(source) = &error else { panic!("{error}") };
        assert_eq!(source.to_string(), "the client went away");
        assert!(told.await.unwrap().is_err(), "the origin saw a clean end");
        assert_eq!(metrics.upstream.connections.get(), 0);
        assert_eq!(metrics.upstream.errors.each_ref().map(Count::get), [0; 7]);
    }
}

#[tokio::test]
async fn an_answer_before_the_requests_end_is_given_on_and_ends_the_connection() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig").await;
        let _ = peer.rest().await;
    })
    .await;
    let (pool, metrics) = pool();
    let (feed, body) = fed();
    feed.send(data("abc")).unwrap();
    let answer = fetch(&pool, &origin.upstream(), request(Method::POST, body)).await.unwrap();
    assert_eq!(answer, "big");
    eventually("its connection is closed", || metrics.upstream.connections.get() == 0).await;
    assert_eq!(pool.idle(), 0);
    drop(feed);
}

/// hyper#3078: the answer lies in the socket, and writing already fails.
#[tokio::test]
async fn an_early_answer_is_seen_though_the_origin_has_closed() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig").await;
        // Closes with unread bytes: a reset follows.
    })
    .await;
    let (pool, metrics) = pool();
    let to = origin.upstream();
    let mut seen = 0;
    for _ in 0..20 {
        let body = RequestBody::Full(Bytes::from(vec![b'x'; 4_000_000]));
        match fetch(&pool, &to, request(Method::POST, body)).await {
            Ok(answer) => {
                assert_eq!(answer, "big");
                seen += 1;
            }
            // A reset may overtake the answer on its way; then there is nothing to see.
            Err(error) => assert!(matches!(error, UpstreamError::Closed), "{error}"),
        }
    }
    assert!(seen > 0, "never seen in 20 tries");
    eventually("all closed", || metrics.upstream.connections.get() == 0).await;
}
