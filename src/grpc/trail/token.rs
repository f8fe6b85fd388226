//! Page tokens: where to go on, and with which question. Opaque to clients.
//!
//! A token holds only for the filter and order it was given out for, which it names by a digest. It is no secret and no
//! permission: whoever shows one is asked again whether it may read. Nothing is kept for it here, so it outlives a restart.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::super::proto::attache::v1::AuditFilter;
use crate::audit::{Cursor, Order};

/// Where a page ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PagePlace {
    page: Bound,
    after: At,
    /// Records from this moment on are not part of the pages: those that reading itself leaves would never end.
    pub(super) until: String,
}

/// Where a stream is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamPlace {
    stream: Bound,
    after: At,
    /// Whose records came as they were written.
    pub(super) own: String,
    /// Up to this one of them, all were given or left out, as far as `live` or `after` goes.
    pub(super) head: u64,
    /// Whether all of them up to `head` were; otherwise those up to `after`.
    pub(super) live: bool,
}

/// The question that a token belongs to: half of a SHA-256, which nobody needs to forge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bound(String);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct At(String, String, u64);

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    #[error("`page_token` is none of this method; begin again without it")]
    NotAToken,
    #[error(
        "`page_token` belongs to another filter or order; repeat those, or begin again without it"
    )]
    OtherQuestion,
}

impl Bound {
    pub(super) fn of(filter: Option<&AuditFilter>, order: Order) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([u8::from(order == Order::Descending)]);
        hasher.update(filter.map(AuditFilter::encode_to_vec).unwrap_or_default());
        let digest: [u8; 32] = hasher.finalize().into();
        Self(URL_SAFE_NO_PAD.encode(digest.first_chunk::<16>().unwrap_or(&[0; 16])))
    }
}

impl PagePlace {
    pub(super) fn new(page: Bound, after: Cursor, until: String) -> Self {
        let after = At::from(after);
        Self { page, after, until }
    }

    pub(super) fn read(token: &str, bound: &Bound) -> Result<Self, TokenError> {
        let place: Self = decode(token)?;
        held(&place.page, bound).map(|()| place)
    }

    pub(super) fn after(&self) -> Cursor {
        self.after.clone().into()
    }

    pub(super) fn token(&self) -> String {
        encode(self)
    }
}

impl StreamPlace {
    /// A stream of everything after `after`, of which `own` wrote `head` records when it began.
    pub(super) fn new(stream: Bound, after: Cursor, own: String, head: u64, live: bool) -> Self {
        Self {
            stream,
            after: after.into(),
            own,
            head,
            live,
        }
    }

    pub(super) fn read(token: &str, bound: &Bound) -> Result<Self, TokenError> {
        let place: Self = decode(token)?;
        held(&place.stream, bound).map(|()| place)
    }

    pub(super) fn after(&self) -> Cursor {
        self.after.clone().into()
    }

    /// Whether the record at `place` is still to come.
    pub(super) fn lacks(&self, place: &Cursor) -> bool {
        let own = place.writer == self.own;
        (own && place.seq > self.head) || (!(own && self.live) && *place > self.after())
    }

    pub(super) fn token(&self) -> String {
        encode(self)
    }
}

impl From<Cursor> for At {
    fn from(Cursor { time, writer, seq }: Cursor) -> Self {
        Self(time, writer, seq)
    }
}

impl From<At> for Cursor {
    fn from(At(time, writer, seq): At) -> Self {
        Self { time, writer, seq }
    }
}

fn held(theirs: &Bound, ours: &Bound) -> Result<(), TokenError> {
    if theirs == ours {
        Ok(())
    } else {
        Err(TokenError::OtherQuestion)
    }
}

fn encode(place: &impl Serialize) -> String {
    // Serialising these types can't fail; an empty token would begin again, which loses nothing.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(place).unwrap_or_default())
}

fn decode<T: DeserializeOwned>(token: &str) -> Result<T, TokenError> {
    let json = URL_SAFE_NO_PAD.decode(token).ok();
    json.and_then(|json| serde_json::from_slice(&json).ok())
        .ok_or(TokenError::NotAToken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(time: &str, writer: &str, seq: u64) -> Cursor {
        Cursor {
            time: time.to_owned(),
            writer: writer.to_owned(),
            seq,
        }
    }

    fn filter(actor: &str) -> AuditFilter {
        AuditFilter {
            actor: actor.to_owned(),
            ..AuditFilter::default()
        }
    }

    #[test]
    fn a_token_holds_for_its_own_question_only() {
        let bound = Bound::of(Some(&filter("a")), Order::Ascending);
        let place = PagePlace::new(bound.clone(), cursor("1", "w", 7), "2".to_owned());
        let token = place.token();
        assert_eq!(PagePlace::read(&token, &bound), Ok(place));
        for other in [
            Bound::of(Some(&filter("b")), Order::Ascending),
            Bound::of(Some(&filter("a")), Order::Descending),
            Bound::of(None, Order::Ascending),
        ] {
            let read = PagePlace::read(&token, &other);
            assert_eq!(read, Err(TokenError::OtherQuestion));
        }
    }

    #[test]
    fn what_is_no_token_of_this_method_is_refused() {
        let bound = Bound::of(None, Order::Ascending);
        let stream = StreamPlace::new(bound.clone(), cursor("1", "w", 7), "w".into(), 7, true);
        for token in ["x", "e30", "AAAA", "\u{0}", &stream.token()] {
            let read = PagePlace::read(token, &bound);
            assert_eq!(read, Err(TokenError::NotAToken), "{token}");
        }
        assert_eq!(StreamPlace::read(&stream.token(), &bound), Ok(stream));
    }

    #[test]
    fn a_stream_goes_on_by_number_where_it_was_live_and_by_place_where_it_was_not() {
        let bound = Bound::of(None, Order::Ascending);
        let place =
            |live| StreamPlace::new(bound.clone(), cursor("5", "w", 7), "w".into(), 7, live);
        for (record, live, history) in [
            (cursor("4", "w", 7), false, false),
            // Written late, with an earlier time.
            (cursor("4", "w", 8), true, true),
            (cursor("6", "w", 8), true, true),
            // A later time under a lower number: given while live, still to come while not.
            (cursor("6", "w", 6), false, true),
            (cursor("4", "v", 9), false, false),
            (cursor("6", "v", 1), true, true),
        ] {
            assert_eq!(place(true).lacks(&record), live, "{record:?}");
            assert_eq!(place(false).lacks(&record), history, "{record:?}");
        }
    }
}
