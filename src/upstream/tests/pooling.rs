//! Which connections are used again, and how many there may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;

use super::origin::{
    Origin, PATIENCE, Peer, data, eventually, fed, fetch, get, pool, request, text,
};
use crate::observe::metrics::{Count, Metrics, UpstreamErrorKind};
use crate::upstream::{Pool, RequestBody, Shared, UpstreamError};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_is_used_again_after_both_messages_ended() {
    let origin = Origin::saying(OK).await;
    let (pool, metrics) = pool();
    let to = origin.upstream();
    for _ in 0..50 {
        assert_eq!(fetch(&pool, &to, get()).await.unwrap(), "ok");
        eventually("the connection is idle again", || pool.idle() == 1).await;
    }
    assert_eq!(origin.connections(), 1);
    assert_eq!((metrics.upstream.connects.get(), metrics.upstream.reused.get()), (1, 49));
    drop(pool);
    eventually("all closed", || metrics.upstream.connections.get() == 0).await;
}

#[tokio::test]
async fn a_body_dropped_midway_closes_its_connection() {
    let origin = Origin::saying("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok").await;
    let (pool, metrics) = pool();
    let to = origin.upstream();
    let mut answer = pool.send(&to, get()).await.unwrap();
    assert_eq!(answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "ok");
    assert_eq!(metrics.upstream.connections.get(), 1);
    drop(answer);
    assert_eq!((metrics.upstream.connections.get(), pool.idle()), (0, 0));
}

#[tokio::test]
async fn a_request_given_up_closes_its_connection() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.head().await;
        let _ = peer.rest().await;
    })
    .await;
    let (pool, metrics) = pool();
    let to = origin.upstream();
    let given_up = tokio::time::timeout(Duration::from_millis(100), pool.send(&to, get())).await;
    assert!(given_up.is_err());
    assert_eq!((metrics.upstream.connections.get(), pool.idle()), (0, 0));
}

#[tokio::test]
async fn unasked_bytes_end_an_idle_connection_before_they_can_answer_anything() {
    let origin = Origin::start(|number, mut peer| async move {
        peer.head().await;
        peer.say(OK).await;
        if number == 0 {
            peer.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").await;
        }
        peer.head().await;
        peer.say(OK).await;
    })
    .await;
    let (pool, _) = pool();
    let to = origin.upstream();
    // In the same read or a later one: the answer before them is whole.
    assert_eq!(fetch(&pool, &to, get()).await.unwrap(), "ok");
    assert_eq!(fetch(&pool, &to, get()).await.unwrap(), "ok");
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn a_connection_closed_while_idle_costs_no_request() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.head().await;
        peer.say(OK).await; // and closes
    })
    .await;
    let (pool, metrics) = pool();
    let to = origin.upstream();
    for _ in 0..20 {
        let body = RequestBody::Full(Bytes::from_static(b"x"));
        assert_eq!(fetch(&pool, &to, request(Method::PUT, body)).await.unwrap(), "ok");
    }
    assert_eq!(origin.connections(), 20);
    assert_eq!(metrics.upstream.errors[UpstreamErrorKind::Closed as usize].get(), 0);
}

/// An origin that takes the second request on a connection and closes without a byte.
async fn closing_on_the_second() -> (Origin, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    let origin = Origin::start(move |_, mut peer| {
        let seen = Arc::clone(&seen);
        async move {
            peer.head().await;
            seen.fetch_add(1, Ordering::SeqCst);
            peer.say(OK).await;
            if !peer.head().await.is_empty() {
                seen.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    (origin, requests)
}

#[tokio::test]
async fn an_idempotent_request_is_sent_once_more_when_its_connection_closed_unanswered() {
    let (origin, requests) = closing_on_the_second().await;
    let (pool, metrics) = pool();
    let to = origin.upstream();
    for (n, method) in [Method::GET, Method::DELETE, Method::PUT].into_iter().enumerate() {
        assert_eq!(fetch(&pool, &to, get()).await.unwrap(), "ok");
        eventually("the connection is idle again", || pool.idle() == 1).await;
        let asked = request(method, RequestBody::Full(Bytes::new()));
        assert_eq!(fetch(&pool, &to, asked).await.unwrap(), "ok");
        assert_eq!(metrics.upstream.retries.get(), n as u64 + 1);
        // The one that carried the repeated request has one more to close on.
        eventually("the connection is idle again", || pool.idle() == 1).await;
        let failing = request(Method::POST, RequestBody::Full(Bytes::from_static(b"x")));
        let error = fetch(&pool, &to, failing).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Closed), "{error}");
    }
    assert_eq!(requests.load(Ordering::SeqCst), 12);
}

#[tokio::test]
async fn a_request_that_may_not_be_repeated_is_sent_once() {
    let (feed, streamed) = fed();
    feed.send(data("x")).unwrap();
    let post = RequestBody::Full(Bytes::from_static(b"x"));
    for (method, body) in [(Method::POST, post), (Method::PUT, streamed)] {
        let (origin, requests) = closing_on_the_second().await;
        let (pool, metrics) = pool();
        let to = origin.upstream();
        assert_eq!(fetch(&pool, &to, get()).await.unwrap(), "ok");
        eventually("the connection is idle again", || pool.idle() == 1).await;
        let error = fetch(&pool, &to, request(method, body)).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Closed), "{error}");
        assert_eq!((metrics.upstream.retries.get(), requests.load(Ordering::SeqCst)), (0, 2));
        assert_eq!(metrics.upstream.errors[UpstreamErrorKind::Closed as usize].get(), 1);
        assert_eq!(metrics.upstream.up.get(), 0);
    }
}

#[tokio::test]
async fn an_answer_that_had_begun_is_never_asked_for_again() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.head().await;
        peer.say(OK).await;
        peer.head().await;
        peer.say("HTTP/1.1 2").await;
    })
    .await;
    let (pool, metrics) = pool();
    let to = origin.upstream();
    fetch(&pool, &to, get()).await.unwrap();
    eventually("the connection is idle again", || pool.idle() == 1).await;
    let error = fetch(&pool, &to, get()).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Closed), "{error}");
    assert_eq!(metrics.upstream.retries.get(), 0);
}

/// hyper would speak HTTP/1.0 on it, and drop the body of a request of unknown length.
#[tokio::test]
async fn a_connection_that_answered_with_http_1_0_is_not_used_again() {
    let answer = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok";
    let origin = Origin::saying(answer).await;
    let (pool, metrics) = pool();
    let to = origin.upstream();
    for n in 1..=3 {
        assert_eq!(fetch(&pool, &to, get()).await.unwrap(), "ok");
        assert_eq!((origin.connections(), pool.idle()), (n, 0));
    }
    assert_eq!(metrics.upstream.connections.get(), 0);
}

#[tokio::test]
async fn idle_connections_are_closed_after_their_time() {
    let origin = Origin::saying(OK).await;
    let (pool, metrics) = pool();
    let mut config = origin.config();
    config.idle_timeout = Duration::from_millis(60);
    let to = Arc::new(config);
    fetch(&pool, &to, get()).await.unwrap();
    eventually("swept", || metrics.upstream.connections.get() == 0).await;
    assert_eq!(pool.idle(), 0);
    // The sweeper has ended; the next idle connection has one again.
    fetch(&pool, &to, get()).await.unwrap();
    eventually("swept again", || metrics.upstream.connections.get() == 0).await;
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn a_changed_upstream_leaves_its_old_connections() {
    let (old, new) = (Origin::saying(OK).await, Origin::saying(OK).await);
    let (pool, metrics) = pool();
    fetch(&pool, &old.upstream(), get()).await.unwrap();
    // The same configuration, read again, keeps them.
    eventually("the connection is idle again", || pool.idle() == 1).await;
    fetch(&pool, &old.upstream(), get()).await.unwrap();
    eventually("the connection is idle again", || pool.idle() == 1).await;
    assert_eq!(old.connections(), 1);
    let running = pool.send(&old.upstream(), get()).await.unwrap();
    fetch(&pool, &new.upstream(), get()).await.unwrap();
    eventually("the new one is idle", || pool.idle() == 1).await;
    assert_eq!(text(running).await.unwrap(), "ok");
    eventually("the old one is closed", || metrics.upstream.connections.get() == 1).await;
    fetch(&pool, &new.upstream(), get()).await.unwrap();
    assert_eq!((old.connections(), new.connections()), (1, 1));
}

/// Keeps count of how many requests are with it at once.
async fn counting(most: &Arc<AtomicUsize>) -> Origin {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::clone(most));
    Origin::start(move |_, mut peer: Peer| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        async move {
            while !peer.head().await.is_empty() {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(2)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                peer.say(OK).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn connections_are_bounded_over_all_workers_and_nobody_starves() {
    let most = Arc::new(AtomicUsize::new(0));
    let origin = counting(&most).await;
    let mut config = origin.config();
    config.max_connections = 4;
    let shared = Shared::new();
    let metrics = Metrics::new(2);
    // Two workers as in life: a thread and a runtime each.
    let workers: Vec<_> = (0..2)
        .map(|worker| {
            let (shared, metrics, config) =
                (Arc::clone(&shared), Arc::clone(&metrics), config.clone());
            std::thread::spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async move {
                    let pool = Pool::new(worker, &shared, metrics);
                    let to = Arc::new(config);
                    let mut running = tokio::task::JoinSet::new();
                    for _ in 0..100 {
                        let (pool, to) = (pool.clone(), Arc::clone(&to));
                        running.spawn(async move { fetch(&pool, &to, get()).await.unwrap() });
                    }
                    running.join_all().await.len()
                })
            })
        })
        .collect();
    let finished = tokio::task::spawn_blocking(move || {
        workers.into_iter().map(|worker| worker.join().unwrap()).sum::<usize>()
    });
    assert_eq!(finished.await.unwrap(), 200);
    assert!(most.load(Ordering::SeqCst) <= 4, "{most:?}");
    assert_eq!(metrics.upstream.connections.get(), 0);
    assert_eq!(metrics.upstream.errors.each_ref().map(Count::get), [0; 7]);
}

#[tokio::test]
async fn a_worker_gets_the_slot_of_a_connection_that_idles_at_another() {
    let origin = Origin::saying(OK).await;
    let mut config = origin.config();
    config.max_connections = 1;
    let to = Arc::new(config);
    let (shared, metrics) = (Shared::new(), Metrics::new(2));
    let pools = [0, 1].map(|worker| Pool::new(worker, &shared, Arc::clone(&metrics)));
    for round in 0..6 {
        assert_eq!(fetch(&pools[round % 2], &to, get()).await.unwrap(), "ok");
        assert!(metrics.upstream.connections.get() <= 1);
    }
    assert_eq!(origin.connections(), 6);
}

#[tokio::test]
async fn whoever_finds_no_connection_in_time_is_told_so() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.head().await;
        let _ = peer.rest().await;
    })
    .await;
    let (pool, metrics) = pool();
    let mut config = origin.config();
    config.max_connections = 1;
    config.connect_timeout = Duration::from_millis(50);
    let to = Arc::new(config);
    let (busy, busy_to) = (pool.clone(), Arc::clone(&to));
    let holder = tokio::spawn(async move { busy.send(&busy_to, get()).await.map(drop) });
    eventually("one is open", || metrics.upstream.connections.get() == 1).await;
    let error = tokio::time::timeout(PATIENCE, pool.send(&to, get())).await.unwrap().unwrap_err();
    assert!(matches!(error, UpstreamError::Saturated), "{error}");
    assert_eq!(metrics.upstream.errors[UpstreamErrorKind::Saturated as usize].get(), 1);
    holder.abort();
    eventually("its slot is free", || metrics.upstream.connections.get() == 0).await;
}
