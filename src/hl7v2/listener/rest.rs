//! The end of a connection whose other side is still writing.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::CHUNK;

/// How long the rest is read.
const LONGEST: Duration = Duration::from_secs(5);
/// How much of it, in bytes.
const MOST: usize = 64 * 1024 * 1024;

/// Says no more, and reads what the other side is still writing, for so long and so much of it: a connection that is
/// closed while something is unread is reset, and the answer before it could be lost on its way.
pub(super) async fn drain<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    drain_within(stream, LONGEST, MOST).await;
}

async fn drain_within<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    longest: Duration,
    most: usize,
) {
    let read = async {
        stream.shutdown().await?;
        let (mut bytes, mut left) = (vec![0; CHUNK], most);
        while left > 0 {
            match stream.read(&mut bytes).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        io::Result::Ok(())
    };
    // Whatever comes of it, the connection ends.
    let _ = timeout(longest, read).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_rest_is_read_until_it_ends_or_there_is_too_much_of_it() {
        for (sent, is_all) in [(400_000, true), (4_000_000, false)] {
            let (mut own, mut other) = tokio::io::duplex(CHUNK);
            let write = async move {
                let written = other.write_all(&vec![b'x'; sent]).await;
                let mut said = Vec::new();
                other.read_to_end(&mut said).await.unwrap();
                (written.is_ok(), said.len())
            };
            let read = async move { drain_within(&mut own, LONGEST, 1_000_000).await };
            let ((was_all, said), ()) = tokio::join!(write, read);
            assert_eq!((was_all, said), (is_all, 0), "{sent}");
        }
    }

    #[tokio::test]
    async fn who_says_nothing_and_stays_is_waited_for_so_long() {
        let (mut own, _other) = tokio::io::duplex(16);
        let (began, longest) = (tokio::time::Instant::now(), Duration::from_millis(100));
        drain_within(&mut own, longest, MOST).await;
        assert!(began.elapsed() >= longest);
    }
}
