//! The way from the reading thread to the encoder. It is short and bounded by bytes as well: a reject keeps its whole
//! message, so that a few chunks of large ones would take more memory than a process may.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::batch::{EncoderStopped, ToEncoder};

/// A queue of at most so many messages, whose rows take at most so many bytes; rows that take more wait alone.
pub fn encoder_queue(messages_max: usize, bytes_max: usize) -> (EncoderSender, EncoderReceiver) {
    let (sender, receiver) = bounded(messages_max);
    let room = Arc::new(Room { bytes_max, waiting: Mutex::default(), changed: Condvar::new() });
    (EncoderSender { sender, room: Arc::clone(&room) }, EncoderReceiver { receiver, room })
}

/// The end of the reading thread.
#[derive(Debug)]
pub struct EncoderSender {
    sender: Sender<Queued>,
    room: Arc<Room>,
}

impl EncoderSender {
    /// Waits while there is no room.
    pub fn send(&self, message: ToEncoder) -> Result<(), EncoderStopped> {
        let bytes = match &message {
            ToEncoder::Rows { rows, .. } => rows.get_array_memory_size(),
            ToEncoder::Seal(_) | ToEncoder::Discard(_) => 0,
        };
        let place = Room::take(&self.room, bytes)?;
        self.sender.send(Queued { message, place }).map_err(|_| EncoderStopped)
    }
}

/// The end of the encoder.
#[derive(Debug)]
pub struct EncoderReceiver {
    receiver: Receiver<Queued>,
    room: Arc<Room>,
}

impl EncoderReceiver {
    /// The next message, for which it waits; none once the sender is gone. Its bytes count until its place is dropped.
    pub fn receive(&self) -> Option<(ToEncoder, Place)> {
        self.receiver.recv().ok().map(|Queued { message, place }| (message, place))
    }

    /// What waits.
    #[cfg(test)]
    pub fn drain(&self) -> impl Iterator<Item = ToEncoder> {
        self.receiver.try_iter().map(|queued| queued.message)
    }
}

impl Drop for EncoderReceiver {
    fn drop(&mut self) {
        self.room.lock().is_closed = true;
        self.room.changed.notify_all();
    }
}

#[derive(Debug)]
struct Queued {
    message: ToEncoder,
    place: Place,
}

#[derive(Debug)]
struct Room {
    bytes_max: usize,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: usize,
    is_closed: bool,
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(room: &Arc<Self>, bytes: usize) -> Result<Place, EncoderStopped> {
        let is_full = |it: &mut Waiting| !it.is_closed && it.bytes > 0 && it.bytes + bytes > room.bytes_max;
        let waited = room.changed.wait_while(room.lock(), is_full);
        let mut waiting = waited.unwrap_or_else(PoisonError::into_inner);
        if waiting.is_closed {
            return Err(EncoderStopped);
        }
        waiting.bytes += bytes;
        Ok(Place { bytes, room: Arc::clone(room) })
    }
}

/// The room of one message.
#[derive(Debug)]
pub struct Place {
    bytes: usize,
    room: Arc<Room>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.lock().bytes -= self.bytes;
        self.room.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use arrow::array::{BinaryArray, RecordBatch};
    use sql::lake::Table;

    use super::*;
    use crate::day_file::FileKind;

    /// Rows of about so many bytes.
    fn rows(bytes: usize) -> ToEncoder {
        let payload = Arc::new(BinaryArray::from_vec(vec![&vec![0; bytes]]));
        let rows = RecordBatch::try_from_iter([("payload", payload as _)]).unwrap();
        ToEncoder::Rows { table: Table::RejectedMessages, day: 0, kind: FileKind::Arrived, rows }
    }

    fn wait_for(sent: &AtomicUsize, count: usize) {
        let started = Instant::now();
        while sent.load(Ordering::SeqCst) != count {
            assert!(started.elapsed() < Duration::from_secs(30), "{} were sent", sent.load(Ordering::SeqCst));
            std::thread::yield_now();
        }
    }

    #[test]
    fn large_rows_wait_for_room_and_never_for_ever() {
        let (sender, receiver) = encoder_queue(32, 3_000_000);
        let sent = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // The last is larger than all the room that there is.
                for bytes in [1_000_000, 1_000_000, 1_000_000, 1_000_000, 9_000_000] {
                    sender.send(rows(bytes)).unwrap();
                    sent.fetch_add(1, Ordering::SeqCst);
                }
                assert_eq!(sender.send(rows(1)), Err(EncoderStopped));
            });
            wait_for(&sent, 2);
            let first = receiver.receive().unwrap();
            // It is being encoded, and so still there.
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(sent.load(Ordering::SeqCst), 2);
            drop(first);
            wait_for(&sent, 3);
            for count in [4, 4, 5] {
                drop(receiver.receive().unwrap());
                wait_for(&sent, count);
            }
            drop(receiver);
        });
    }
}
