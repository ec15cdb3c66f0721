//! One connection of the scripted origin: how requests are read and answers written.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::client::field;
use super::origin::Seen;

/// One connection of the origin, with what it may do to the running request.
pub struct Reply {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The running request is a HEAD.
    pub head_only: bool,
    /// The connection ends when the handler returns.
    pub closing: bool,
}

impl Reply {
    /// On this connection.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::new(), head_only: false, closing: false }
    }

    /// Ends the connection.
    pub fn shut(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Says that nothing more will come, and can go on reading.
    pub fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// An answer with a Content-Length.
    pub fn answer(&mut self, status: u16, headers: &[&str], body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let mut bytes = head(status, headers);
        if status != 304 && status != 204 {
            bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        if !self.head_only && status != 304 && status != 204 {
            bytes.extend_from_slice(body);
        }
        self.raw(bytes);
    }

    /// 200 with a Content-Length.
    pub fn ok(&mut self, headers: &[&str], body: impl AsRef<[u8]>) {
        self.answer(200, headers, body);
    }

    /// The head of a chunked answer.
    pub fn start(&mut self, status: u16, headers: &[&str]) {
        let mut bytes = head(status, headers);
        bytes.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
        self.raw(bytes);
    }

    /// One chunk.
    pub fn chunk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let mut framed = format!("{:x}\r\n", bytes.len()).into_bytes();
        framed.extend_from_slice(bytes);
        framed.extend_from_slice(b"\r\n");
        self.raw(framed);
    }

    /// The last chunk, with these trailer lines.
    pub fn end(&mut self, trailers: &[&str]) {
        let lines = lines(trailers);
        self.raw(format!("0\r\n{lines}\r\n"));
    }

    /// Closes the connection when the handler returns.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// Resets the connection.
    pub fn reset(&mut self) {
        let socket = socket2::SockRef::from(&self.stream);
        let _ = socket.set_linger(Some(Duration::ZERO));
        let _ = socket.shutdown(Shutdown::Both);
        self.closing = true;
    }

    /// Bytes that the peer sent beyond the request; empty when it closed or `limit` passed.
    pub fn read(&mut self, limit: Duration) -> Vec<u8> {
        if self.buffer.is_empty() {
            let _ = self.stream.set_read_timeout(Some(limit));
            self.fill();
            let _ = self.stream.set_read_timeout(Some(Duration::from_mins(2)));
        }
        std::mem::take(&mut self.buffer)
    }

    /// Exactly `len` bytes that the peer sent beyond the request's head.
    pub fn exactly(&mut self, len: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.take(len, &mut bytes).map(|()| bytes)
    }

    /// Reads on until the peer closes: true if it does within `limit`.
    pub fn await_close(&mut self, limit: Duration) -> bool {
        let start = Instant::now();
        let _ = self.stream.set_read_timeout(Some(Duration::from_millis(50)));
        let mut bytes = [0; 4096];
        while start.elapsed() < limit {
            match self.stream.read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return true,
            }
        }
        false
    }

    /// Reads the next request, or its head alone; `None` at the connection's end.
    pub fn request(&mut self, connection: usize, head_only: bool) -> Option<Seen> {
        let head = self.until(b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.trim_end().split("\r\n");
        let mut start = lines.next()?.split(' ').map(str::to_owned);
        let mut seen = Seen {
            method: start.next()?,
            target: start.next()?,
            headers: lines.filter_map(field).collect(),
            body: Vec::new(),
            trailers: Vec::new(),
            whole: false,
            connection,
        };
        if head_only {
            return Some(seen);
        }
        if seen.all("expect").iter().any(|v| v.eq_ignore_ascii_case("100-continue")) {
            self.raw("HTTP/1.1 100 Continue\r\n\r\n");
        }
        seen.whole = self.body(&mut seen).is_some();
        Some(seen)
    }

    /// Reads the body of this request into it; `None` where it does not come whole.
    pub fn body(&mut self, seen: &mut Seen) -> Option<()> {
        if seen.all("transfer-encoding").contains(&"chunked") {
            loop {
                let line = self.line()?;
                let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
                if size == 0 {
                    break;
                }
                self.take(size, &mut seen.body)?;
                self.line()?;
            }
            loop {
                let line = self.line()?;
                if line.is_empty() {
                    return Some(());
                }
                seen.trailers.push(field(&line)?);
            }
        }
        let len = seen.all("content-length").first().map_or(Ok(0), |v| v.parse()).ok()?;
        self.take(len, &mut seen.body)
    }

    fn line(&mut self) -> Option<String> {
        let line = self.until(b"\r\n")?;
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn take(&mut self, mut len: usize, into: &mut Vec<u8>) -> Option<()> {
        while len > 0 {
            if self.buffer.is_empty() && !self.fill() {
                return None;
            }
            let n = len.min(self.buffer.len());
            into.extend(self.buffer.drain(..n));
            len -= n;
        }
        Some(())
    }

    fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|w| w == end) {
                return Some(self.buffer.drain(..at + end.len()).collect());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    fn fill(&mut self) -> bool {
        let mut bytes = [0; 16384];
        match self.stream.read(&mut bytes) {
            Ok(n) => {
                self.buffer.extend_from_slice(&bytes[..n]);
                n > 0
            }
            Err(_) => false,
        }
    }
}

fn head(status: u16, headers: &[&str]) -> Vec<u8> {
    let lines = lines(headers);
    format!("HTTP/1.1 {status} Scripted\r\n{lines}").into_bytes()
}

fn lines(fields: &[&str]) -> String {
    fields.iter().flat_map(|field| [field, "\r\n"]).collect()
}
