//! What becomes of one reject.

use crate::decode::{Decoded, Decoder, KeptBytes};
use crate::raw_message::RawMessage;
use crate::rejected::{Refusal, RejectReason, Rejected};
use crate::stored_rows::StoredRows;

/// What becomes of a row of rejects.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict<'m> {
    /// It is not selected, or nothing about it changes.
    Stays,
    /// It is one event, which decodes now.
    Moves,
    /// It is replaced by others: one under a new reason, or the events of a batch, each on its own.
    Becomes(Vec<Piece<'m>>),
}

/// A part of what a reject held.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece<'m> {
    pub rejected: Rejected<'m>,
    /// Whether it decodes now; it keeps the reason of the reject that it was part of.
    pub accepted: bool,
}

/// What was counted while judging.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub events: u64,
    pub rows: u64,
    pub unmetered: u64,
}

pub fn judge<'m>(
    decoder: &Decoder,
    rows: StoredRows<'_>,
    row: usize,
    message: &RawMessage<'m>,
    now_us: i64,
    tally: &mut Tally,
) -> Verdict<'m> {
    let Some(reason) = RejectReason::from_name(rows.text("reason", row)) else { return Verdict::Stays };
    let batch_index = rows.batch_index(row);
    let kept = KeptBytes::of(message, batch_index, reason);
    let mut pieces = Vec::new();
    decoder.decode_again(message, kept, now_us, &mut |payload, decoded| match decoded {
        Decoded::Event(event) => {
            tally.events += 1;
            tally.rows += event.readings.len().max(1) as u64;
            tally.unmetered += u64::from(event.readings.is_empty());
            let rejected = Rejected {
                why: Refusal::new(reason, rows.text("detail", row)),
                batch_index: event.batch_index,
                payload,
                source: Some(event.source),
                id: Some(event.id),
                tenant: Some(event.tenant),
                event_type: Some(event.event_type),
            };
            pieces.push(Piece { rejected, accepted: true });
        }
        Decoded::Rejected(rejected) => pieces.push(Piece { rejected, accepted: false }),
        Decoded::Tombstone => {}
    });
    match &pieces[..] {
        // The bytes of a reject are never absent; should they be, it stays for somebody to look at.
        [] if message.payload.is_none() => Verdict::Stays,
        [piece] if piece.rejected.batch_index == batch_index && is_whole(piece, message) => {
            let why = &piece.rejected.why;
            match piece.accepted {
                true => Verdict::Moves,
                false if why.reason == reason && why.detail == rows.text("detail", row) => Verdict::Stays,
                false => Verdict::Becomes(pieces),
            }
        }
        _ => Verdict::Becomes(pieces),
    }
}

fn is_whole(piece: &Piece<'_>, message: &RawMessage<'_>) -> bool {
    message.payload.is_some_and(|payload| payload.len() == piece.rejected.payload.len())
}
