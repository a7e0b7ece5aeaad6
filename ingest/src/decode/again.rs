//! Decoding what a reject kept: a whole message, or one event out of a batch.

use super::{Decoded, Decoder, EventContext, Mode, batch_elements, envelope};
use crate::raw_message::RawMessage;
use crate::rejected::{Refusal, RejectReason, Rejected};

/// What the bytes of a reject are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptBytes {
    Message,
    /// An element of a batch message, which stood at this place.
    Element(i32),
}

impl KeptBytes {
    /// A batch that could not be taken apart is kept whole, under place 0; its first element stands there
    /// too if it was refused on its own. They differ in how they begin and why they were refused: an element that
    /// is itself an array is no event, whereas a batch is refused whole for other reasons; and what is no array is
    /// refused whole because no batch can be that.
    pub fn of(message: &RawMessage<'_>, batch_index: i32, reason: RejectReason) -> Self {
        let payload = message.payload.unwrap_or_default();
        let is_batch = matches!(Mode::of(message, payload), Ok(Mode::Batch));
        let is_array = payload.trim_ascii_start().first() == Some(&b'[');
        let is_no_event = reason == RejectReason::NotACloudEvent;
        let only_of_messages = matches!(reason, RejectReason::TooLarge | RejectReason::InvalidUtf8);
        let is_element = batch_index > 0 || (is_batch && is_array == is_no_event && !only_of_messages);
        if is_element { Self::Element(batch_index) } else { Self::Message }
    }
}

impl Decoder {
    /// Decodes a reject's bytes; `each` gets the bytes of every event in them with what it turned out to
    /// be. Nothing is left out: what is refused comes back as rejected.
    pub fn decode_again<'m>(
        &self,
        message: &RawMessage<'m>,
        kept: KeptBytes,
        now_us: i64,
        each: &mut dyn FnMut(&'m [u8], Decoded<'m>),
    ) {
        let Some(payload) = message.payload else {
            return each(&[], Decoded::Tombstone);
        };
        let elements = match kept {
            KeptBytes::Element(place) => self.utf8(payload).map(|text| vec![(place, text)]),
            KeptBytes::Message if matches!(Mode::of(message, payload), Ok(Mode::Batch)) => {
                let elements = self.utf8(payload).and_then(batch_elements);
                elements.map(|elements| (0..).zip(elements).collect())
            }
            KeptBytes::Message => {
                return self.decode(message, now_us, &mut |decoded| each(payload, decoded));
            }
        };
        match elements {
            Ok(elements) => {
                for (batch_index, text) in elements {
                    let context = EventContext {
                        stamped_at_us: message.stamped_at_us,
                        arrival_us: now_us,
                        batch_index,
                    };
                    let bytes = text.as_bytes();
                    self.structured(text, bytes, context, &mut |decoded| each(bytes, decoded));
                }
            }
            Err(why) => each(payload, Decoded::Rejected(Rejected::whole(why, payload))),
        }
    }

    fn utf8<'m>(&self, payload: &'m [u8]) -> Result<&'m str, Refusal> {
        self.check_size(payload)?;
        envelope::utf8(payload)
    }
}
