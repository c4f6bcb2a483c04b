pub(crate) mod cutter;
pub(crate) mod due;
