//! Interim responses (1xx) of the origin on their way to the client (DESIGN D13).
//!
//! hyper's client reports them while a request waits for its final answer, and the connection's
//! I/O wrapper writes them; what is between is a [`Conn`]'s queue. Only the request that went to
//! the origin gets them: nothing of them is stored, and who joins its fetch sees none.

use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Request, StatusCode, Version};
use tokio::sync::Notify;

use crate::proxy::ask::Ask;
use crate::proxy::conn::Conn;
use crate::proxy::worker::{House, Worker};
use crate::semantics::headers;
use crate::upstream::RequestBody;

/// The way of one request's interim responses to its client.
#[derive(Clone)]
pub struct Relay {
    conn: Weak<Conn>,
    /// The request's number on its connection.
    request: u64,
    /// The connection's task, which writes.
    task: Waker,
    /// Told of a 100, if the client asked for one.
    expects: Option<Arc<Notify>>,
    house: Arc<House>,
}

impl Relay {
    /// Opens the way for the request that is being answered. `None`: its client speaks HTTP/1.0
    /// and knows no interim response (RFC 9110 §15.2). To be called by the connection's task;
    /// [`written`] closes the way again.
    pub async fn open(worker: &Worker, ask: &Ask) -> Option<Self> {
        if ask.head.version != Version::HTTP_11 {
            return None;
        }
        let task = std::future::poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let request = ask.conn.open_interim();
        let (expects, house) = (ask.expects.clone(), worker.house.clone());
        Some(Self { conn: Arc::downgrade(&ask.conn), request, task, expects, house })
    }

    /// Passes on what comes before the final answer to this request.
    pub fn attach(self, request: &mut Request<RequestBody>) {
        hyper::ext::on_informational(request, move |interim| {
            self.pass(interim.status(), interim.version(), interim.headers());
        });
    }

    fn pass(&self, status: StatusCode, version: Version, fields: &HeaderMap) {
        if status == StatusCode::CONTINUE {
            // hyper says so itself to a client that waits for it, once its body is asked for.
            self.expects.iter().for_each(|expects| expects.notify_one());
            return;
        }
        let Some(conn) = self.conn.upgrade() else { return };
        let mut fields = headers::end_to_end(fields);
        fields.remove(CONTENT_LENGTH); // it has no content (RFC 9110 §8.6)
        self.house.via.append(&mut fields, version);
        if conn.push_interim(self.request, &encode(status, &fields)) {
            self.task.wake_by_ref();
        }
    }
}

/// Waits until what has come of interim responses is with the connection's writer, ahead of
/// anything else, and closes the way: what comes later is dropped. To be called before the answer
/// is given out; dropped midway, the connection is ending.
pub async fn written(conn: &Conn) {
    // Who takes them out of the queue wakes this task.
    std::future::poll_fn(|_| if conn.close_interim() { Poll::Ready(()) } else { Poll::Pending })
        .await;
}

fn encode(status: StatusCode, fields: &HeaderMap) -> Vec<u8> {
    let mut head = Vec::with_capacity(64 + fields.len() * 64);
    head.extend_from_slice(b"HTTP/1.1 ");
    head.extend_from_slice(status.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    head.extend_from_slice(b"\r\n");
    for (name, value) in fields {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}
