//! Display copies of a picture: small enough for a page, upright, without what the camera wrote beside it.
//!
//! Pure. A picture is decoded under bounds of pixels and memory before anything is allocated for it. Start at [`copies`].

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits, RgbImage};

use crate::error::AppError;

/// Longer side of the copy in a list.
const THUMBNAIL: u32 = 480;
/// Longer side of the copy that fills a screen.
const VIEW: u32 = 1_600;
/// Pixels of a picture; telephones have 12 to 50 million.
const PIXELS_MAX: u64 = 51_000_000;
/// Pixels of a progressive JPEG: its decoder holds the coefficients of the whole picture beside it.
const PROGRESSIVE_PIXELS_MAX: u64 = 20_000_000;
/// Longer side.
const SIDE_MAX: u32 = 20_000;
/// Bytes of the decoded picture, and of what a decoder asks for at once. One picture at a time is decoded.
const ALLOC_MAX: u64 = 256 << 20;
const QUALITY: u8 = 82;

/// The copies, both JPEG.
#[derive(Debug)]
pub(crate) struct Copies {
    pub(crate) thumbnail: Vec<u8>,
    pub(crate) view: Vec<u8>,
}

/// Decodes a picture of this media type and makes its copies.
///
/// # Errors
/// `attachment.picture_size`, or `attachment.picture` for one that cannot be decoded.
pub(crate) fn copies(bytes: &[u8], media_type: &str) -> Result<Copies, AppError> {
    let broken = |e: image::ImageError| match e {
        image::ImageError::Limits(_) => too_large(),
        other => AppError { source: Some(other.into()), ..AppError::invalid("attachment.picture", "file") },
    };
    let format = ImageFormat::from_mime_type(media_type).ok_or_else(|| AppError::invalid("attachment.picture", "file"))?;
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height, limits.max_alloc) = (Some(SIDE_MAX), Some(SIDE_MAX), Some(ALLOC_MAX));
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    let most = if format == ImageFormat::Jpeg && is_progressive(bytes) { PROGRESSIVE_PIXELS_MAX } else { PIXELS_MAX };
    if u64::from(width) * u64::from(height) > most || width.max(height) > SIDE_MAX || decoder.total_bytes() > ALLOC_MAX {
        return Err(too_large());
    }
    // Without a word about it a picture is upright.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let whole = DynamicImage::from_decoder(decoder).map_err(broken)?;
    let mut view = shrunk(&whole, VIEW);
    drop(whole);
    view.apply_orientation(orientation);
    let thumbnail = shrunk(&view, THUMBNAIL);
    Ok(Copies { thumbnail: jpeg(&thumbnail).map_err(broken)?, view: jpeg(&view).map_err(broken)? })
}

/// Whether the frame of a JPEG is progressive (ITU-T T.81, table B.1: SOF2).
fn is_progressive(jpeg: &[u8]) -> bool {
    let mut at = 2;
    while let Some([0xff, marker, high, low]) = jpeg.get(at..at + 4) {
        match marker {
            0xc2 => return true,
            // Another frame, or the scan itself.
            0xc0 | 0xc1 | 0xc3 | 0xda => return false,
            // Filling.
            0xff => at += 1,
            _ => at += 2 + usize::from(u16::from_be_bytes([*high, *low])),
        }
    }
    false
}

fn too_large() -> AppError {
    AppError::invalid("attachment.picture_size", "file").with("megapixels", PIXELS_MAX / 1_000_000)
}

fn shrunk(image: &DynamicImage, side: u32) -> DynamicImage {
    if image.width().max(image.height()) <= side { image.clone() } else { image.thumbnail(side, side) }
}

fn jpeg(image: &DynamicImage) -> Result<Vec<u8>, image::ImageError> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(&on_white(image))?;
    Ok(bytes)
}

/// What shines through is white, as on paper.
fn on_white(image: &DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.to_rgb8();
    }
    let rgba = image.to_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, a] = rgba.get_pixel(x, y).0;
        image::Rgb([r, g, b].map(|c| ((u16::from(c) * u16::from(a) + 255 * (255 - u16::from(a))) / 255) as u8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Left half red, right half blue.
    fn two_halves(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, _| image::Rgb(if x < width / 2 { [220, 20, 20] } else { [20, 20, 220] }))
    }

    fn jpeg_of(image: &RgbImage) -> Vec<u8> {
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 95).encode_image(image).unwrap();
        bytes
    }

    /// The same with an EXIF block (APP1) that says only how it was held.
    fn held(jpeg: &[u8], orientation: u8) -> Vec<u8> {
        let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
        let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
        [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
    }

    fn read(bytes: &[u8]) -> RgbImage {
        image::load_from_memory_with_format(bytes, ImageFormat::Jpeg).unwrap().to_rgb8()
    }

    #[test]
    fn a_progressive_frame_is_seen_behind_what_stands_before_it() {
        let check = |frame: &[u8], want: bool| {
            let mut bytes = vec![0xff, 0xd8, 0xff, 0xe1, 0, 4, 0xff, 0xc2, 0xff];
            bytes.extend(frame);
            assert_eq!(is_progressive(&bytes), want, "{frame:?}");
        };
        check(&[0xff, 0xc2, 0, 11], true);
        check(&[0xff, 0xff, 0xc2, 0, 11], true);
        check(&[0xff, 0xc0, 0, 11, 0xff, 0xc2, 0, 11], false);
        check(&[0xff, 0xda, 0, 2], false);
        check(&[0xff, 0xe2, 0xff, 0xff], false);
        check(&[], false);
    }

    #[test]
    fn copies_are_small_upright_and_say_nothing_of_the_camera() {
        let original = jpeg_of(&two_halves(2_000, 1_000));
        let plain = copies(&original, "image/jpeg").unwrap();
        let (thumbnail, view) = (read(&plain.thumbnail), read(&plain.view));
        assert_eq!((thumbnail.dimensions(), view.dimensions()), ((480, 240), (1_600, 800)));
        let is_red = |p: &image::Rgb<u8>| p.0[0] > 150 && p.0[2] < 100;
        assert!(is_red(thumbnail.get_pixel(20, 20)) && !is_red(thumbnail.get_pixel(460, 20)));
        // 6: the camera was turned, what is left stands above.
        let turned = held(&original, 6);
        assert!(turned.windows(4).any(|w| w == b"Exif"));
        let turned = copies(&turned, "image/jpeg").unwrap();
        let thumbnail = read(&turned.thumbnail);
        assert_eq!((thumbnail.dimensions(), read(&turned.view).dimensions()), ((240, 480), (800, 1_600)));
        assert!(is_red(thumbnail.get_pixel(20, 20)) && is_red(thumbnail.get_pixel(220, 20)), "above is what was left");
        assert!(!is_red(thumbnail.get_pixel(20, 460)));
        for copy in [&turned.thumbnail, &turned.view] {
            assert!(!copy.windows(4).any(|w| w == b"Exif"), "no EXIF in a display copy");
        }
        // 3: upside down.
        let upside_down = read(&copies(&held(&original, 3), "image/jpeg").unwrap().thumbnail);
        assert!(!is_red(upside_down.get_pixel(20, 20)) && is_red(upside_down.get_pixel(460, 20)));
        let small = read(&copies(&jpeg_of(&two_halves(40, 30)), "image/jpeg").unwrap().view);
        assert_eq!(small.dimensions(), (40, 30), "nothing is made larger");
    }

    #[test]
    fn png_and_webp_too_and_what_shines_through_is_white() {
        let glass = DynamicImage::ImageRgba8(image::RgbaImage::from_pixel(20, 10, image::Rgba([0, 0, 0, 0])));
        for (format, media_type) in [(ImageFormat::Png, "image/png"), (ImageFormat::WebP, "image/webp")] {
            let mut bytes = Cursor::new(Vec::new());
            glass.write_to(&mut bytes, format).unwrap();
            let copy = read(&copies(&bytes.into_inner(), media_type).unwrap().view);
            assert!(copy.get_pixel(5, 5).0.iter().all(|c| *c > 250), "{media_type}: {:?}", copy.get_pixel(5, 5));
        }
    }

    /// A PNG of so many grey pixels, all black: some kilobytes that decode to gigabytes.
    fn bomb(width: u32, height: u32) -> Vec<u8> {
        let chunk = |kind: &[u8; 4], data: &[u8]| {
            let body = [kind.as_slice(), data].concat();
            let crc = body.iter().fold(!0_u32, |crc, byte| {
                (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
            });
            [&u32::try_from(data.len()).unwrap().to_be_bytes()[..], &body, &(!crc).to_be_bytes()].concat()
        };
        let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
        [
            b"\x89PNG\r\n\x1a\n".as_slice(),
            &chunk(b"IHDR", &header),
            &chunk(b"IDAT", &[0x78, 0x9c, 0x03, 0, 0, 0, 0, 1]),
            &chunk(b"IEND", &[]),
        ]
        .concat()
    }

    #[test]
    fn a_picture_of_huge_dimensions_or_none_at_all_is_refused() {
        let code = |bytes: &[u8], media_type: &str| copies(bytes, media_type).unwrap_err().code();
        assert_eq!(code(&bomb(60_000, 60_000), "image/png"), "attachment.picture_size");
        assert_eq!(code(&bomb(u32::MAX >> 1, 2), "image/png"), "attachment.picture_size");
        assert_eq!(code(&bomb(10_000, 9_000), "image/png"), "attachment.picture_size", "each side is in bounds, both together are not");
        assert_eq!(code(&bomb(30, 30), "image/png"), "attachment.picture", "no pixels in it");
        // A JPEG that claims 65,500 by 65,500.
        let mut jpeg = jpeg_of(&two_halves(8, 8));
        let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xdc, 0xff, 0xdc]);
        assert_eq!(code(&jpeg, "image/jpeg"), "attachment.picture_size");
        assert_eq!(code(&[0xff, 0xd8, 0xff, 0xe0, 1, 2, 3], "image/jpeg"), "attachment.picture");
        assert_eq!(code(b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"), "attachment.picture");
        for cut in (0..200).step_by(7) {
            let whole = jpeg_of(&two_halves(64, 64));
            let _ = copies(&whole[..whole.len().min(cut)], "image/jpeg");
        }
    }
}
