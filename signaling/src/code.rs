//! Every code by which a request can be refused, in one table for all protocols: WebSocket, WHIP, WHEP, RTMP and FLV.
//!
//! Tickets keep the vendor's numbers where clients know them; everything else counts from 71000. A code never changes its
//! meaning. `PROTOCOL.md` shows the same table and a test compares the two.

use std::{borrow::Cow, fmt};

use media::Refusal;
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($( $(#[$doc:meta])* $name:ident = $number:literal, $http:literal, $message:literal, $advice:literal; )*) => {
        /// Why a request was refused, or a connection closed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $( $(#[$doc])* $name, )* }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[$( Code::$name, )*];

            /// The number on the wire.
            pub const fn number(self) -> u32 {
                match self { $( Code::$name => $number, )* }
            }

            /// The HTTP status of an answer that carries this code.
            pub const fn http_status(self) -> u16 {
                match self { $( Code::$name => $http, )* }
            }

            /// One sentence: what is wrong.
            pub const fn message(self) -> &'static str {
                match self { $( Code::$name => $message, )* }
            }

            /// One sentence: what to do about it.
            pub const fn advice(self) -> &'static str {
                match self { $( Code::$name => $advice, )* }
            }

            /// The name in this file, for logs and metrics.
            pub const fn name(self) -> &'static str {
                match self { $( Code::$name => stringify!($name), )* }
            }
        }
    };
}

codes! {
    // userSig: the vendor's numbers.
    UserSigExpired = 70001, 401, "userSig has expired", "ask your server for a new one";
    /// Everything else about a userSig in one code, so that a forger learns nothing.
    UserSigInvalid = 70003, 401, "userSig is not valid for this app and user",
        "check sdkAppID, userID, the key that signed it and the clocks";
    UnknownApp = 70020, 401, "sdkAppID is not known here", "check sdkAppID against the server's configuration";
    // privateMapKey and signed URLs.
    TicketMissing = 71000, 401, "no ticket was given", "send a userSig, or sign the URL with txSecret and txTime";
    PrivateMapKeyMissing = 71001, 403, "this app wants a privateMapKey", "ask your server for one for this room";
    PrivateMapKeyInvalid = 71002, 403, "privateMapKey is not valid for this app, user and room",
        "ask your server for one for this room";
    PrivateMapKeyExpired = 71003, 403, "privateMapKey has expired", "ask your server for a new one";
    PrivilegeMissing = 71004, 403, "privateMapKey does not allow this", "ask your server for one with the privilege bit";
    UrlSignatureInvalid = 71005, 401, "txSecret does not fit this stream and txTime", "ask your server for a new URL";
    UrlSignatureExpired = 71006, 401, "the signed URL has expired", "ask your server for a new URL";
    TooManyFailures = 71007, 429, "too many refused tickets from this address", "wait a minute";
    PrivateMapKeyUsed = 71008, 403, "privateMapKey was used already", "ask your server for a new one each time";
    TooManyJoins = 71009, 429, "this user enters too often", "wait a minute";
    OwnerRefused = 71010, 401, "this is for the app's own server, which shows the app's secret",
        "send Authorization: Bearer and the secret of this sdkAppID";
    ConsoleRefused = 71011, 401, "this is for the operator, who is not logged in",
        "log in to the console; to replace a lost password delete console-password.hash and restart";
    // The form of a request.
    BadMessage = 72000, 400, "the message cannot be read", "send one JSON object with a numeric id and a type";
    UnknownRequest = 72001, 400, "there is no such request", "see PROTOCOL.md for the requests";
    BadField = 72002, 400, "a field is missing or not what it should be", "see PROTOCOL.md for the request's fields";
    MessageTooBig = 72003, 413, "the message is too big", "send less at once";
    NotEntered = 72004, 403, "no room was entered", "send enter first";
    AlreadyEntered = 72005, 409, "a room was entered already", "send leave first";
    EnterTimeout = 72006, 408, "no room was entered in time", "send enter right after connecting";
    HeartbeatTimeout = 72007, 408, "nothing was heard for too long", "send heartbeat; connect again";
    TooSlow = 72008, 408, "messages were not read fast enough", "connect again";
    TooManyConnections = 72009, 429, "too many connections from this address", "close some";
    OriginRefused = 72010, 403, "pages of this origin may not connect", "add the origin to the server's configuration";
    NotFound = 72011, 404, "there is nothing here", "check the path";
    MethodNotAllowed = 72012, 405, "this method is not supported here", "see the Allow header";
    WrongMediaType = 72013, 415, "the body is not of the expected type", "see PROTOCOL.md for the content type";
    SessionNotFound = 72014, 404, "there is no such session", "begin a new one with POST";
    SessionChanged = 72015, 412, "the session is not the one of If-Match", "use the ETag of the answer to POST";
    // Rooms.
    RoomFull = 73000, 503, "the room is full", "try again when somebody has left";
    PublishersFull = 73001, 503, "the room has as many publishers as it may", "try again when somebody stopped";
    TooManyRooms = 73002, 503, "the app has as many rooms as it may", "try again when a room has ended";
    PlayersFull = 73003, 503, "the room has as many players as it may", "try again when somebody stopped";
    NoSuchStream = 73004, 404, "there is no such stream", "wait for stream-added";
    RoleMayNotPublish = 73005, 403, "an audience member may not publish", "enter as anchor";
    PublishPending = 73006, 409, "an earlier publish is not answered yet", "wait for its answer";
    TooManySubscriptions = 73007, 503, "too many streams are subscribed to", "unsubscribe from some";
    StaleAnswer = 73008, 409, "no offer of this version waits for an answer", "answer the newest offer";
    UserInUse = 73009, 409, "this userID belongs to a stream of the server itself", "choose another userID";
    /// In the event `closed` only.
    LoggedInElsewhere = 73010, 409, "the same user entered this room again", "use one userID for each person";
    /// In the event `closed` only.
    Kicked = 73011, 403, "you were sent away", "ask whoever runs the room";
    /// In the event `closed` only.
    RoomDissolved = 73012, 410, "the room was dissolved", "enter another room";
    NoSuchRoom = 73013, 404, "there is no such room", "check the roomID";
    NoSuchMember = 73014, 404, "there is no such member in the room", "check the userID against the list of members";
    NotModerator = 73015, 403, "only the room's owner and moderators may do this",
        "ask your server for a privateMapKey with bit 256";
    RoomLocked = 73016, 403, "the room is locked", "ask whoever runs the room";
    Banned = 73017, 403, "you are banned from this room", "ask whoever runs the room";
    RoomExists = 73018, 409, "the room exists already", "change it instead";
    ContentTooBig = 73019, 413, "the content is too big", "send at most 12000 bytes to one member, 8898 to the room";
    Unreachable = 73020, 409, "this member cannot receive messages", "send to members who came by WebSocket";
    TooManyMessages = 73021, 429, "too many messages in a short time", "wait a second";
    Silenced = 73022, 403, "you were muted", "ask whoever runs the room";
    NoSuchBan = 73023, 404, "this user is not banned", "check the userID";
    TooManyBans = 73024, 503, "the room has as many bans or muted users as it may", "lift some";
    ResumeRefused = 73025, 410, "what was missed cannot be made up for", "send enter";
    /// In the event `closed` only.
    Resumed = 73026, 409, "the member came back by another connection", "nothing: this connection is the old one";
    // Media.
    BadSdp = 74000, 400, "the session description cannot be used", "see the message for the line";
    NoCommonCodec = 74001, 406, "there is no codec in common", "offer H.264 or VP8, and Opus";
    MediaLimit = 74002, 503, "the server has reached a limit", "try again later";
    MediaUnavailable = 74004, 503, "the media side did not answer in time", "try again";
    ShuttingDown = 74005, 503, "the server is shutting down", "connect to another, or again in a moment";
    // The store.
    StoreDamaged = 75000, 500, "the store is damaged",
        "put back a backup of store.redb and store.mark, or move both away to begin without what is in them";
    StoreInUse = 75001, 500, "the store is used by another process", "stop it, or take another folder with --data";
    StoreFormat = 75002, 500, "the store was written by a newer version", "run that version, or take another folder";
    StoreUnavailable = 75003, 503, "the store cannot be read or written",
        "look for a full disk or missing rights in the server's log, then restart it";
    // The HTTP API.
    AppConfigured = 75010, 409, "this app belongs to the configuration", "change it there and send SIGHUP";
    CallbackRefused = 75011, 400, "the callback URL is not allowed", "see the message, or set callbackPrivate";
    // Relays, in `lastCode`.
    RelayUnreachable = 76000, 502, "the relay's other server cannot be reached", "check host and port of the URL, and that the server runs";
    RelayTimeout = 76001, 504, "the relay's other server did not answer in time", "check that the server runs and takes streams";
    RelayCertificate = 76002, 502, "the certificate of the relay's other server is not believed", "have it renewed, or name who vouches for it in rtmp.relay_ca";
    RelayCertificateName = 76003, 502, "the certificate of the relay's other server is for another name", "use the name of the certificate in the URL";
    RelayProtocol = 76004, 502, "the relay's other server does not speak this protocol", "check scheme and port of the URL";
    RelayRefused = 76005, 502, "the relay's other server refused", "check app, name and key of the URL against what that server says";
    RelayEnded = 76006, 502, "the relay's other server ended the stream", "see whether the stream is still there";
    RelayForbidden = 76007, 403, "the relay's URL leads to an address that relays may not reach", "use a public address, or set relay_private";
}

impl Code {
    /// The WebSocket close code (RFC 6455 §7.4.2: 4000 and up are private) after the event `closed`.
    pub const fn close_code(self) -> u16 {
        match self {
            Code::BadMessage => 4400,
            Code::EnterTimeout => 4401,
            Code::MessageTooBig => 1009,
            Code::HeartbeatTimeout | Code::TooSlow => 4408,
            Code::LoggedInElsewhere | Code::Resumed => 4409,
            Code::Kicked | Code::Banned | Code::RoomDissolved => 4403,
            Code::TooManyConnections | Code::TooManyFailures => 4429,
            Code::ShuttingDown => 1001,
            _ => 4000,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number(), self.message())
    }
}

/// A refusal: its code, and where it helps, what exactly or which field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub code: Code,
    /// Replaces the code's general message. Holds no secret and nothing the client sent except names of fields.
    pub message: Cow<'static, str>,
    /// The field that is wrong.
    pub field: Option<&'static str>,
}

impl Fault {
    /// `field` is missing or is not `what`, as in "a string of 1 to 128 bytes".
    pub fn field(field: &'static str, what: &str) -> Fault {
        Fault { code: Code::BadField, message: format!("{field} must be {what}").into(), field: Some(field) }
    }

    pub fn with(code: Code, message: impl Into<Cow<'static, str>>) -> Fault {
        Fault { code, message: message.into(), field: None }
    }

    /// As it goes out, over any protocol that speaks JSON.
    pub fn body(&self) -> FaultBody {
        FaultBody {
            code: self.code.number(),
            message: self.message.to_string(),
            advice: self.code.advice().to_owned(),
            field: self.field.map(str::to_owned),
        }
    }
}

impl From<Code> for Fault {
    fn from(code: Code) -> Fault {
        Fault { code, message: code.message().into(), field: None }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        let code = match &refusal {
            Refusal::BadSdp(_) => Code::BadSdp,
            Refusal::NoCodec(_) => Code::NoCommonCodec,
            Refusal::NotFound => Code::NoSuchStream,
            Refusal::Limit(_) => Code::MediaLimit,
            Refusal::ShuttingDown => Code::ShuttingDown,
        };
        Fault::with(code, refusal.to_string())
    }
}

/// The JSON of a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultBody {
    pub code: u32,
    /// For people; may change.
    pub message: String,
    /// What to do about it; for people.
    pub advice: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn media_knows_the_number_that_it_says_by_itself() {
        assert_eq!(media::command::NO_CODEC_CODE, Code::NoCommonCodec.number());
    }

    #[test]
    fn numbers_are_unique_and_statuses_are_errors() {
        let numbers: HashSet<u32> = Code::ALL.iter().map(|c| c.number()).collect();
        assert_eq!(numbers.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!((400..600).contains(&code.http_status()), "{code}");
            assert!(!code.message().is_empty() && !code.advice().is_empty(), "{code}");
        }
    }
}
