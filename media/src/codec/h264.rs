pub fn inspect(_: &[u8]) -> super::Payload {
    super::Payload::default()
}
