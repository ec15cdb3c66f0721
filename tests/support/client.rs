//! A client on a bare socket: it sends what it is told, also what no library would send.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::answer::{Answer, Ending};

/// How long a client waits for the next byte.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The method.
    pub method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Ask {
    /// `method target`.
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), headers: Vec::new(), body: None }
    }

    /// A GET.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// The same for another target.
    pub fn target(&self, target: &str) -> Self {
        Self { target: target.into(), ..self.clone() }
    }

    /// A HEAD.
    pub fn head(target: &str) -> Self {
        Self::new("HEAD", target)
    }

    /// A POST with a body of known length.
    pub fn post(target: &str, body: impl AsRef<[u8]>) -> Self {
        Self::new("POST", target).body(body)
    }

    /// One more field line.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The body, with its Content-Length.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Some(body.as_ref().to_vec());
        self
    }

    /// The bytes on the wire. Host is `app.test` unless given.
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("host")) {
            head.push_str("Host: app.test\r\n");
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes sent so far.
    pub sent: u64,
    /// Bytes received so far.
    pub received: u64,
}

impl Client {
    /// A new connection.
    #[track_caller]
    pub fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)
            .unwrap_or_else(|e| panic!("cannot connect to {addr}: {e}"));
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a write timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, buffer: Vec::new(), sent: 0, received: 0 }
    }

    /// Sends bytes as they are. The peer may have closed already: the answer tells.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.sent += bytes.len() as u64;
        let _ = self.stream.write_all(bytes);
    }

    /// Says that nothing more will be sent.
    pub fn finish_sending(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Waits at most `limit` for each next byte from now on.
    pub fn patience(&mut self, limit: Duration) {
        self.stream.set_read_timeout(Some(limit)).expect("a read timeout");
    }

    /// Sends a request and reads its answer.
    pub fn ask(&mut self, ask: &Ask) -> Answer {
        self.send(ask.bytes());
        self.answer(&ask.method)
    }

    /// Reads the answer to a request with this method.
    pub fn answer(&mut self, method: &str) -> Answer {
        let mut answer = self.head();
        if answer.status != 0 {
            answer.ending = self.body(method, &mut answer).err().unwrap_or(Ending::Complete);
        }
        answer
    }

    /// Reads a head only, with the interim ones before it.
    pub fn head(&mut self) -> Answer {
        let mut interim = Vec::new();
        loop {
            let head = match self.until(b"\r\n\r\n") {
                Ok(head) => head,
                Err(ending) => return Answer { interim, ..Answer::nothing(ending) },
            };
            let Some(mut answer) = parse_head(&head) else {
                return Answer { interim, ..Answer::nothing(Ending::Malformed) };
            };
            if matches!(answer.status, 100 | 102..=199) {
                interim.push(answer.status);
                continue;
            }
            answer.interim = interim;
            return answer;
        }
    }

    /// The next chunk of a chunked body; `None` at the last one (trailers are read away).
    pub fn chunk(&mut self) -> Result<Option<Vec<u8>>, Ending> {
        let mut trailers = Vec::new();
        self.chunk_or_trailers(&mut trailers)
    }

    /// Bytes as they come, at least one; what is buffered comes first.
    pub fn some(&mut self) -> Result<Vec<u8>, Ending> {
        if self.buffer.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Exactly `len` bytes.
    pub fn exactly(&mut self, len: usize) -> Result<Vec<u8>, Ending> {
        while self.buffer.len() < len {
            self.fill()?;
        }
        Ok(self.buffer.drain(..len).collect())
    }

    /// Everything to the end of the connection.
    pub fn rest(&mut self) -> (Vec<u8>, Ending) {
        loop {
            if let Err(ending) = self.fill() {
                return (std::mem::take(&mut self.buffer), ending);
            }
        }
    }

    /// True once the peer has closed and nothing unread is left.
    pub fn is_closed(&mut self) -> bool {
        self.patience(Duration::from_millis(20));
        let closed = matches!(self.fill(), Err(Ending::Closed | Ending::Reset));
        self.patience(PATIENCE);
        closed && self.buffer.is_empty()
    }

    fn body(&mut self, method: &str, answer: &mut Answer) -> Result<(), Ending> {
        if method == "HEAD" || matches!(answer.status, 100..=199 | 204 | 304) {
            return Ok(());
        }
        if method == "CONNECT" && answer.status / 100 == 2 {
            return Ok(());
        }
        let chunked = answer.all("transfer-encoding").iter().any(|v| v.contains("chunked"));
        if chunked {
            while let Some(chunk) = self.chunk_or_trailers(&mut answer.trailers)? {
                answer.body.extend_from_slice(&chunk);
            }
            return Ok(());
        }
        let len = answer.all("content-length").first().and_then(|v| v.parse::<usize>().ok());
        let Some(len) = len else {
            let (body, ending) = self.rest();
            answer.body = body;
            return if ending == Ending::Closed { Ok(()) } else { Err(ending) };
        };
        while self.buffer.len() < len {
            if let Err(ending) = self.fill() {
                answer.body = std::mem::take(&mut self.buffer);
                return Err(ending);
            }
        }
        answer.body = self.buffer.drain(..len).collect();
        Ok(())
    }

    fn chunk_or_trailers(
        &mut self,
        trailers: &mut Vec<(String, String)>,
    ) -> Result<Option<Vec<u8>>, Ending> {
        let line = self.until(b"\r\n")?;
        let line = String::from_utf8_lossy(&line);
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| Ending::Malformed)?;
        if size > 0 {
            let chunk = self.exactly(size)?;
            let end = self.exactly(2)?;
            return if end == b"\r\n" { Ok(Some(chunk)) } else { Err(Ending::Malformed) };
        }
        loop {
            let line = self.until(b"\r\n")?;
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if line.is_empty() {
                return Ok(None);
            }
            trailers.push(field(&line).ok_or(Ending::Malformed)?);
        }
    }

    /// Bytes up to and with `end`.
    fn until(&mut self, end: &[u8]) -> Result<Vec<u8>, Ending> {
        let mut from = 0;
        loop {
            if let Some(at) = self.buffer[from..].windows(end.len()).position(|w| w == end) {
                return Ok(self.buffer.drain(..from + at + end.len()).collect());
            }
            from = self.buffer.len().saturating_sub(end.len() - 1);
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), Ending> {
        let mut bytes = [0; 16384];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(Ending::Closed),
            Ok(n) => {
                self.received += n as u64;
                self.buffer.extend_from_slice(&bytes[..n]);
                Ok(())
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => self.fill(),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(Ending::TimedOut)
            }
            Err(_) => Err(Ending::Reset),
        }
    }
}

fn parse_head(head: &[u8]) -> Option<Answer> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.trim_end().split("\r\n");
    let mut start = lines.next()?.splitn(3, ' ');
    start.next()?.strip_prefix("HTTP/1.")?;
    let status = start.next()?.parse().ok()?;
    let headers = lines.map(field).collect::<Option<Vec<_>>>()?;
    Some(Answer { status, headers, ..Answer::nothing(Ending::Complete) })
}

/// A field line as name and value.
pub fn field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.to_owned(), value.trim().to_owned()))
}
