#[derive(Default)]
pub struct TwccReceiver;
impl TwccReceiver {
    pub fn on_packet(&mut self, _: crate::units::time::Time, _: u16) {}
    pub fn next_timeout(&self) -> Option<crate::units::time::Time> {
        None
    }
    pub fn poll_feedback(&mut self, _: crate::units::time::Time, _: u32, _: u32, _: &mut Vec<u8>) {}
}
