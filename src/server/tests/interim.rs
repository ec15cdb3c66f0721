//! Interim responses never cut into another message, whenever they come (DESIGN D13).

use super::*;

/// A number from 0 to `below`, from a state that moves on.
pub(super) fn pick(state: &mut u64, below: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % below
}

/// Answers request `n` with up to half a megabyte of its number, while another task keeps telling
/// the connection of interim responses to it, before, while and long after it is answered.
pub(super) async fn answer_amid_hints(conn: &Arc<Conn>, n: u64, seed: u64) -> Response<Pieces> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(n) | 1;
    let task = std::future::poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let request = conn.open_interim();
    let (pusher, mut pushing) = (Arc::clone(conn), state);
    tokio::spawn(async move {
        for _ in 0..40 {
            let pad = "p".repeat(pick(&mut pushing, 3000) as usize);
            let hint = format!("HTTP/1.1 103 Early Hints\r\nx-for: {n}\r\nx-pad: {pad}\r\n\r\n");
            if pusher.push_interim(request, hint.as_bytes()) {
                task.wake_by_ref();
            }
            for _ in 0..pick(&mut pushing, 4) {
                tokio::task::yield_now().await;
            }
        }
    });
    for _ in 0..pick(&mut state, 30) {
        tokio::task::yield_now().await;
    }
    crate::proxy::interim::written(conn).await;
    let mut response = answer(200, "");
    let pieces = 1 + pick(&mut state, 8);
    let size = 1 + pick(&mut state, 64 << 10) as usize;
    *response.body_mut() = Pieces::of((0..pieces).map(|_| Bytes::from(vec![n as u8; size])));
    response
}

/// Reads `requests` answers as slowly as the seed says; how many interim responses came.
fn read_strictly(client: &mut Client, requests: u64, mut state: u64) -> usize {
    let mut hints = 0;
    for n in 0..requests {
        let head = loop {
            let head = client.head().expect("an answer");
            if !head.starts_with("HTTP/1.1 103 Early Hints\r\n") {
                break head;
            }
            assert!(head.contains(&format!("\r\nx-for: {n}\r\n")), "at {n}: {}", &head[..40]);
            hints += 1;
        };
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "at {n}: {}", &head[..head.len().min(40)]);
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut left: usize = length.expect("a length").parse().unwrap();
        let mut buffer = vec![0; 32 << 10];
        while left > 0 {
            let most = left.min(1 + pick(&mut state, 32 << 10) as usize);
            let read = client.0.read(&mut buffer[..most]).unwrap();
            assert!(read > 0, "at {n}: closed");
            assert!(buffer[..read].iter().all(|byte| *byte == n as u8), "at {n}: cut into");
            left -= read;
            if pick(&mut state, 16) == 0 {
                std::thread::sleep(Duration::from_micros(300)); // so that writes block
            }
        }
    }
    hints
}

#[test]
fn hints_at_any_time_leave_pipelined_answers_whole() {
    const REQUESTS: u64 = 100;
    let seed = getrandom::u64().unwrap();
    println!("seed {seed}");
    let server = Server::new();
    let mut all = 0;
    for round in 0..4 {
        let mut client = server.client();
        let mut writer = Client(client.0.try_clone().unwrap());
        let mut state = seed.wrapping_add(round) | 1;
        let sender = std::thread::spawn(move || {
            let requests: String = (0..REQUESTS)
                .map(|n| get(&format!("/hints?{n},{}", seed.wrapping_add(round))))
                .collect();
            let mut left = requests.as_bytes();
            while !left.is_empty() {
                let (now, later) =
                    left.split_at(left.len().min(pick(&mut state, 2000) as usize + 1));
                writer.send(now);
                left = later;
            }
        });
        all += read_strictly(&mut client, REQUESTS, state);
        sender.join().unwrap();
        client.0.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(client.rest(), b"", "nothing behind the last answer");
    }
    assert!(all > 200, "{all} hints in 400 answers");
}

#[test]
fn a_client_that_reads_no_hint_is_cut_off() {
    let server =
        Server::with(1, Limits { write_timeout: Duration::from_millis(100), ..generous() });
    let mut client = server.client();
    socket2::SockRef::from(&client.0).set_recv_buffer_size(4 << 10).unwrap();
    for n in 0..100 {
        client.send(get(&format!("/hints?{n},7")));
    }
    eventually("the connection to end", || server.metrics.server.connections.get() == 0);
}
