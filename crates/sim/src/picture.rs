//! A camera's picture without a camera: a small grey JPEG that every viewer opens, different for every vehicle and moment.
//!
//! Baseline, one component, only the mean of each block of 8 × 8: enough for a road under a sky. Says 演示 in its comment. Start at [`jpeg`].

use crate::rng::Rng;

/// Blocks across and down: 160 × 96 pixels.
const COLUMNS: usize = 20;
const ROWS: usize = 12;
/// Quantizer of every coefficient. With 8 a DC coefficient is the block's mean less 128.
const STEP: u8 = 8;
/// Codes of the DC categories 0 to 11 and their lengths (ITU-T T.81, table K.3).
const DC: [(u16, u8); 12] = [
    (0b00, 2),
    (0b010, 3),
    (0b011, 3),
    (0b100, 3),
    (0b101, 3),
    (0b110, 3),
    (0b1110, 4),
    (0b1_1110, 5),
    (0b11_1110, 6),
    (0b111_1110, 7),
    (0b1111_1110, 8),
    (0b1_1111_1110, 9),
];
const DC_COUNTS: [u8; 16] = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0];

/// A picture of a road as `name` sees it.
pub fn jpeg(name: &str, seed: u64) -> Vec<u8> {
    let mut rng = Rng::named(seed, name);
    let horizon = 4 + rng.below(3);
    let bend = rng.between(-4.0, 4.0);
    let level = |column: usize, row: usize, noise: f64| {
        if row < horizon {
            return 210.0 - 6.0 * row as f64 + noise;
        }
        // The road widens towards the viewer.
        let depth = (row - horizon + 1) as f64 / (ROWS - horizon) as f64;
        let middle = COLUMNS as f64 / 2.0 + bend * (1.0 - depth);
        let off = (column as f64 + 0.5 - middle).abs();
        if off < 0.6 * depth {
            235.0
        } else if off < 8.0 * depth {
            95.0 + noise
        } else {
            140.0 + 3.0 * noise
        }
    };
    let mut means = Vec::with_capacity(COLUMNS * ROWS);
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            means.push(level(column, row, rng.between(-6.0, 6.0)).clamp(0.0, 255.0) as u8);
        }
    }
    encode(&means)
}

fn segment(out: &mut Vec<u8>, marker: u8, body: &[u8]) {
    out.extend([0xff, marker]);
    out.extend((body.len() as u16 + 2).to_be_bytes());
    out.extend(body);
}

fn encode(means: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff, 0xd8];
    segment(&mut out, 0xe0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
    segment(&mut out, 0xfe, "演示数据 demo".as_bytes());
    segment(&mut out, 0xdb, &[[0].as_slice(), &[STEP; 64]].concat());
    let (height, width) = ((ROWS * 8) as u16, (COLUMNS * 8) as u16);
    let [h, w] = [height.to_be_bytes(), width.to_be_bytes()];
    segment(&mut out, 0xc0, &[8, h[0], h[1], w[0], w[1], 1, 1, 0x11, 0]);
    let values: Vec<u8> = (0..12).collect();
    segment(&mut out, 0xc4, &[[0].as_slice(), &DC_COUNTS, &values].concat());
    // AC: a single code, "nothing more in this block".
    let mut counts = [0_u8; 16];
    counts[0] = 1;
    segment(&mut out, 0xc4, &[[0x10].as_slice(), &counts, &[0]].concat());
    segment(&mut out, 0xda, &[1, 1, 0, 0, 63, 0]);
    let mut bits = Bits { out, held: 0, n: 0 };
    let mut before = 0_i32;
    for mean in means {
        let coefficient = i32::from(*mean) - 128;
        let difference = coefficient - before;
        before = coefficient;
        let category = (32 - difference.unsigned_abs().leading_zeros()) as u8;
        let (code, length) = DC[usize::from(category.min(11))];
        bits.put(code, length);
        let value = if difference < 0 { difference - 1 } else { difference };
        bits.put((value & ((1 << category) - 1)) as u16, category);
        bits.put(0, 1);
    }
    let mut out = bits.finish();
    out.extend([0xff, 0xd9]);
    out
}

/// Bits of the scan; a 0xff in it is followed by 0.
struct Bits {
    out: Vec<u8>,
    held: u32,
    n: u8,
}

impl Bits {
    fn put(&mut self, value: u16, length: u8) {
        self.held = self.held << length | u32::from(value);
        self.n += length;
        while self.n >= 8 {
            self.n -= 8;
            let byte = (self.held >> self.n) as u8;
            self.out.push(byte);
            if byte == 0xff {
                self.out.push(0);
            }
        }
        self.held &= (1 << self.n) - 1;
    }

    fn finish(mut self) -> Vec<u8> {
        if self.n > 0 {
            let left = 8 - self.n;
            self.put((1 << left) - 1, left);
        }
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The means back out of a picture, by the same tables read the other way round.
    fn means(jpeg: &[u8]) -> Vec<u8> {
        let scan = jpeg.windows(2).position(|w| w == [0xff, 0xda]).unwrap() + 10;
        let mut bytes = Vec::new();
        let mut rest = jpeg[scan..jpeg.len() - 2].iter();
        while let Some(byte) = rest.next() {
            bytes.push(*byte);
            if *byte == 0xff {
                assert_eq!(rest.next(), Some(&0));
            }
        }
        let mut bits = bytes.iter().flat_map(|b| (0..8).rev().map(move |i| u16::from(b >> i & 1)));
        let (mut found, mut level) = (Vec::new(), 128_i32);
        for _ in 0..COLUMNS * ROWS {
            let (mut code, mut length) = (0, 0);
            let category = loop {
                code = code << 1 | bits.next().unwrap();
                length += 1;
                if let Some(category) = DC.iter().position(|known| *known == (code, length)) {
                    break category;
                }
            };
            let value = (0..category).fold(0_i32, |v, _| v << 1 | i32::from(bits.next().unwrap()));
            let is_negative = category > 0 && value < 1 << (category - 1);
            level += if is_negative { value - (1 << category) + 1 } else { value };
            assert_eq!(bits.next(), Some(0), "end of block");
            found.push(level as u8);
        }
        found
    }

    #[test]
    fn a_picture_reads_back_says_that_it_is_invented_and_is_like_no_other() {
        let one = jpeg("云F·演0001 1", 1);
        assert!(one.starts_with(&[0xff, 0xd8, 0xff]) && one.ends_with(&[0xff, 0xd9]) && one.len() < 2_000, "{}", one.len());
        assert!(one.windows(6).any(|w| w == "演示".as_bytes()));
        let levels = means(&one);
        assert!(levels[0] > 190 && levels.iter().any(|l| *l < 120));
        assert_eq!(one, jpeg("云F·演0001 1", 1));
        assert_ne!(one, jpeg("云F·演0001 2", 1));
        let sharp: Vec<u8> = (0..COLUMNS * ROWS).map(|i| if i % 2 == 0 { 0 } else { 255 }).collect();
        assert_eq!(means(&encode(&sharp)), sharp);
    }
}
