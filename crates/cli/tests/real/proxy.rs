//! Something between the product and a cluster that behaves as networks and busy servers do.
//!
//! It stands before a `kubectl proxy`, which brings the credentials, so that all here is plain HTTP/1.1: a request and its
//! answer a connection. Leases go through unharmed: who acts is not what is tried here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longest an answer is kept back: longer than any client waits.
const FOR_EVER: Duration = Duration::from_secs(60);

/// How the way behaves.
#[derive(Clone, Debug, PartialEq)]
pub enum Mood {
    /// It passes on everything.
    Fine,
    /// The create of a Job whose name begins so never reaches the server, nor is it answered.
    Swallows(&'static str),
    /// The create of a Job whose name begins so is carried out and never answered.
    Mute(&'static str),
    /// The first, third, fifth write of each object, or of each kind, is answered 409, 429 or 500, or carried out and
    /// its answer lost, one after the other.
    Moody,
    /// Watches are cut, nothing is heard on those that follow, and nothing can be listed.
    Deaf,
    /// The same watches are cut; whoever goes on watching asks, once, from so far back that the server's history no
    /// longer reaches there.
    Forgetful,
}

/// What the connections share.
struct Shared {
    behind: String,
    mood: Mood,
    faults: u64,
    /// Writes by method and path.
    writes: BTreeMap<String, u64>,
    /// What was watched from too far back.
    forgotten: BTreeSet<String>,
    /// Watches that were answered 410.
    expired: u64,
    /// Open watches.
    watches: Vec<TcpStream>,
}

/// A faulty way to a cluster.
pub struct Proxy {
    pub url: String,
    shared: Arc<Mutex<Shared>>,
    kubectl: Child,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// One to the cluster of a context.
    pub fn start(kubeconfig: &Path, context: &str) -> Proxy {
        let mut kubectl = Command::new("kubectl")
            .args(["proxy", "--port", "0", "--context", context])
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(kubectl.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let behind = line.trim().rsplit(' ').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (mood, watches, forgotten) = (Mood::Fine, Vec::new(), BTreeSet::new());
        let all = Shared { behind, mood, faults: 0, writes: BTreeMap::new(), forgotten, expired: 0, watches };
        let shared = Arc::new(Mutex::new(all));
        let theirs = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = theirs.clone();
                // A connection that breaks is what this is for.
                std::thread::spawn(move || pass_on(client, &shared).ok());
            }
        });
        Proxy { url, shared, kubectl }
    }

    pub fn behave(&self, mood: Mood) {
        let mut shared = lock(&self.shared);
        if matches!(mood, Mood::Deaf | Mood::Forgetful) {
            // One that has ended by itself is as good.
            shared.watches.drain(..).for_each(|watch| drop(watch.shutdown(Shutdown::Both)));
        }
        shared.mood = mood;
    }

    /// Faults of writes so far.
    pub fn faults(&self) -> u64 {
        lock(&self.shared).faults
    }

    /// Watches so far that the server answered 410.
    pub fn expired(&self) -> u64 {
        lock(&self.shared).expired
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.kubectl.kill();
        let _waited = self.kubectl.wait();
    }
}

/// What becomes of a request.
#[derive(PartialEq)]
enum Fate {
    Passes,
    Watches,
    /// A watch from the beginning of history.
    Expires,
    Dropped,
    /// Open, and nothing comes.
    Silent,
    Swallowed,
    /// Carried out, and not answered for ever.
    Mute,
    /// Carried out, and the connection breaks.
    Lost,
    Refused(u16, &'static str),
}

fn fate(shared: &mut Shared, first: &str, body: &str) -> Fate {
    let reads = first.starts_with("GET");
    let watches = reads && first.contains("watch=");
    let creates = first.starts_with("POST") && first.contains("/jobs") && !first.contains("dryRun=All");
    let meant = |name: &str| creates && body.contains(&format!("\"name\":\"{name}-"));
    let fate = match &shared.mood {
        _ if first.contains("/leases/") => return Fate::Passes,
        Mood::Deaf if watches => return Fate::Silent,
        Mood::Deaf if reads => return Fate::Dropped,
        Mood::Forgetful if watches && shared.forgotten.insert(path(first)) => return Fate::Expires,
        _ if watches => return Fate::Watches,
        Mood::Swallows(name) if meant(name) => Fate::Swallowed,
        Mood::Mute(name) if meant(name) => Fate::Mute,
        Mood::Moody if !reads => {
            let before = shared.writes.entry(path(first)).or_default();
            *before += 1;
            match shared.faults % 4 {
                _ if before.is_multiple_of(2) => return Fate::Passes,
                0 => Fate::Refused(409, "Conflict"),
                1 => Fate::Refused(429, "TooManyRequests"),
                2 => Fate::Refused(500, "InternalError"),
                _ => Fate::Lost,
            }
        }
        _ => return Fate::Passes,
    };
    shared.faults += 1;
    fate
}

/// What a request line asks for, without how.
fn path(first: &str) -> String {
    first.split('?').next().unwrap_or_default().to_owned()
}

fn pass_on(mut client: TcpStream, shared: &Mutex<Shared>) -> std::io::Result<()> {
    let (mut head, body) = request(&mut client)?;
    let first = head.lines().next().unwrap_or_default().to_owned();
    let (fate, behind) = {
        let mut shared = lock(shared);
        (fate(&mut shared, &first, &String::from_utf8_lossy(&body)), shared.behind.clone())
    };
    match fate {
        Fate::Dropped => return client.shutdown(Shutdown::Both),
        Fate::Silent => {
            lock(shared).watches.push(client.try_clone()?);
            // Until it is cut.
            return std::io::copy(&mut client, &mut std::io::sink()).map(|_| ());
        }
        Fate::Swallowed => {
            std::thread::sleep(FOR_EVER);
            return Ok(());
        }
        Fate::Refused(code, reason) => return refuse(&mut client, code, reason),
        Fate::Expires => head = head.replacen(&first, &from_the_beginning(&first), 1),
        _ => {}
    }
    let mut server = TcpStream::connect(behind)?;
    server.write_all(head.as_bytes())?;
    server.write_all(&body)?;
    match fate {
        Fate::Mute | Fate::Lost => {
            std::io::copy(&mut server, &mut std::io::sink())?;
            if fate == Fate::Mute {
                std::thread::sleep(FOR_EVER);
            }
            Ok(())
        }
        Fate::Expires => {
            // The server says so in one event, and ends.
            let mut answer = Vec::new();
            server.read_to_end(&mut answer)?;
            lock(shared).expired += u64::from(String::from_utf8_lossy(&answer).contains("\"code\":410"));
            client.write_all(&answer)
        }
        _ => {
            if fate == Fate::Watches {
                lock(shared).watches.extend([client.try_clone()?, server.try_clone()?]);
            }
            std::io::copy(&mut server, &mut client).map(|_| ())
        }
    }
}

/// A watch's request line that asks from resourceVersion 1 on.
fn from_the_beginning(first: &str) -> String {
    let (before, rest) = first.split_once("resourceVersion=").unwrap_or((first, ""));
    let version = rest.chars().take_while(char::is_ascii_digit).count();
    format!("{before}resourceVersion=1{}", &rest[version..])
}

/// Head, with `Connection: close`, and body of a request.
fn request(client: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let lower = line.to_ascii_lowercase();
        if let Some(number) = lower.strip_prefix("content-length:") {
            length = number.trim().parse().unwrap_or(0);
        }
        if line == "\r\n" {
            head += "Connection: close\r\n\r\n";
            break;
        }
        // What cannot be read cannot be looked for.
        if !lower.starts_with("connection:") && !lower.starts_with("accept-encoding:") {
            head += &line;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((head, body))
}

fn refuse(client: &mut TcpStream, code: u16, reason: &str) -> std::io::Result<()> {
    let body = format!(
        "{{\"kind\": \"Status\", \"apiVersion\": \"v1\", \"status\": \"Failure\", \"message\": \"busy\", \"reason\": \"{reason}\", \"code\": {code}}}"
    );
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {code} {reason}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    client.write_all(answer.as_bytes())
}
