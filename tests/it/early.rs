//! Answers of the origin before the request's end (hyper#3078): the client sees that answer.

use crate::support::{Ask, Origin, SOON, Setup, eventually};

/// What an origin does once it has answered 413 to a request's head.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// It closes, with the body unread: a reset follows.
    Closes,
    /// It shuts down its side and reads on.
    ShutsDown,
    /// It reads on and would take another request.
    ReadsOn,
}

fn refusing(then: Then) -> Origin {
    Origin::at_head(move |seen, reply| {
        // Who closes says so: else the next upload may run into the close, and is not repeated.
        let last = if matches!(then, Then::ReadsOn) { "" } else { "Connection: close\r\n" };
        reply.raw(format!("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n{last}\r\nbig"));
        match then {
            Then::Closes => {}
            Then::ShutsDown => {
                reply.finish();
                reply.await_close(SOON);
            }
            Then::ReadsOn => {
                let mut whole = seen.clone();
                if reply.body(&mut whole).is_some() {
                    return;
                }
            }
        }
        reply.close();
    })
}

#[test]
fn a_refusal_of_an_upload_under_way_reaches_the_client() {
    for then in [Then::Closes, Then::ShutsDown, Then::ReadsOn] {
        let origin = refusing(then);
        let larder = Setup::new(&origin.url()).without_disk().workers(1).start();
        let mut other = 0;
        for round in 0..20 {
            let chunked = round % 2 == 0;
            let size = [1000, 300_000, 8_000_000][round % 3];
            let mut client = larder.connect();
            if chunked {
                client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
                client.send(format!("{size:x}\r\n"));
                client.send(vec![b'x'; size]);
                client.send("\r\n0\r\n\r\n");
            } else {
                client.send(Ask::post("/", vec![b'x'; size]).bytes());
            }
            let answer = client.answer("POST");
            if answer.status == 413 {
                assert_eq!(answer.text(), "big", "{then:?}, {size} bytes: {answer:?}");
            } else {
                other += 1;
                println!("{then:?} {round} {size} {chunked}: {answer:?}");
            }
        }
        assert_eq!(other, 0, "{then:?}");
        eventually("no connection to the origin", SOON, || {
            larder.metrics().count("larder_upstream_connections", &[]) == 0
        });
    }
}
