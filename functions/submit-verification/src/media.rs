//! Frames of a video, and photos as JPEG, by ffmpeg: given a file of ours and nothing else, with little time, memory and room.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use shared::config::MediaSettings;
use shared::http::{Content, File, Unread};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// How long ffmpeg may take for one file.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Its limits, as `ulimit` has them: address space in KiB, time of the CPU in s, the size of a file that it writes in blocks of 512 B.
const LIMITS: &str = "ulimit -v 2000000; ulimit -t 20; ulimit -f 40000; exec \"$0\" \"$@\"";

/// The most pixels of a picture: those of a phone's camera at its finest. They take 300 MB decoded.
const MAX_PIXELS: &str = "64000000";

/// How many frames are compared.
pub const FRAMES: usize = 3;

/// How much of a video is looked at, in seconds, one frame each.
const SECONDS: &str = "10";

/// The longest side of a photo, in pixels, as the contract has it.
const PHOTO_SIDE: u32 = 2_048;

/// The longest side of a frame: a face in it is large.
const FRAME_SIDE: u32 = 1_024;

/// What the folders of files that are being decoded are called.
const PREFIX: &str = "identivia-check-";

/// After how long such a folder is nobody's any more: no request lasts as long.
const ABANDONED: Duration = Duration::from_secs(120);

/// Why there are no pictures.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// ffmpeg cannot decode the file, or would need too much for it.
    #[error("cannot be decoded: {0}")]
    Undecodable(String),
    /// The file could not be read from where it is stored.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// Something of ours failed.
    #[error("media: {0}")]
    Failed(#[from] io::Error),
}

/// What makes pictures. Made once in a process's life.
pub struct Ffmpeg {
    path: PathBuf,
}

impl Ffmpeg {
    pub fn new(settings: MediaSettings) -> Self {
        clean();
        Self { path: settings.ffmpeg }
    }

    /// Frames of a video, evenly spread over its first seconds, as JPEG.
    ///
    /// # Errors
    /// When there are none.
    pub async fn frames(&self, video: &File) -> Result<Vec<Bytes>, MediaError> {
        clean();
        let folder = TempDir::with_prefix(PREFIX)?;
        let input = save(video, folder.path()).await?;
        // A video of less than a second has a frame as well.
        let filter = format!("fps=1:round=up,{}", fit(FRAME_SIDE));
        let output = ["-map", "0:v:0", "-t", SECONDS, "-vf", &filter, "-frames:v", SECONDS, "-f", "image2"];
        self.run(video.media_type, &input, &output, &folder.path().join("frame%02d.jpg")).await?;
        let mut names = Vec::new();
        let mut entries = tokio::fs::read_dir(folder.path()).await?;
        while let Some(entry) = entries.next_entry().await? {
            names.extend(Some(entry.path()).filter(|path| path.extension().is_some_and(|kind| kind == "jpg")));
        }
        names.sort_unstable();
        let mut frames = Vec::new();
        for path in spread(&names) {
            frames.push(Bytes::from(tokio::fs::read(path).await?));
        }
        if frames.is_empty() { Err(MediaError::Undecodable("no frame".to_owned())) } else { Ok(frames) }
    }

    /// A photo as JPEG of at most 2,048 pixels a side, without what else its file says.
    ///
    /// # Errors
    /// When it cannot be decoded.
    pub async fn photo(&self, photo: &File) -> Result<Bytes, MediaError> {
        let folder = TempDir::with_prefix(PREFIX)?;
        let input = save(photo, folder.path()).await?;
        let path = folder.path().join("photo.jpg");
        let one = ["-frames:v", "1", "-f", "image2", "-update", "1"];
        // Phones cut a HEIC into tiles, which are one picture only together; one that is not cut has no such group.
        let fit = fit(PHOTO_SIDE);
        let group = format!("[0:g:0]{fit}[picture]");
        let whole = [&["-filter_complex", &group, "-map", "[picture]"][..], &one].concat();
        let plain = [&["-map", "0:v:0", "-vf", &fit][..], &one].concat();
        let is_group =
            photo.media_type == "image/heif" && self.run(photo.media_type, &input, &whole, &path).await.is_ok();
        if !is_group {
            self.run(photo.media_type, &input, &plain, &path).await?;
        }
        match tokio::fs::read(path).await {
            Ok(bytes) if !bytes.is_empty() => Ok(bytes.into()),
            _ => Err(MediaError::Undecodable("no picture".to_owned())),
        }
    }

    async fn run(&self, media_type: &str, input: &Path, how: &[&str], output: &Path) -> Result<(), MediaError> {
        let format = format_of(media_type).ok_or_else(|| MediaError::Undecodable("an unknown type".to_owned()))?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", LIMITS]).arg(&self.path);
        command.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-threads", "2"]);
        // The format that the bytes showed, so that no playlist or script passes as a video; and files, so that nothing is fetched.
        command.args(["-protocol_whitelist", "file", "-max_pixels", MAX_PIXELS, "-f", format, "-i"]);
        command.arg(format!("file:{}", input.display()));
        command.args(["-map_metadata", "-1", "-pix_fmt", "yuvj420p", "-q:v", "3", "-threads", "2"]);
        command.args(how).arg("-y").arg(output);
        // Nothing of ours is in its environment.
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let ended = match tokio::time::timeout(TIMEOUT, command.output()).await {
            Ok(ended) => ended?,
            Err(_) => return Err(MediaError::Undecodable(format!("not done in {} s", TIMEOUT.as_secs()))),
        };
        match ended.status.code() {
            Some(0) => Ok(()),
            // The shell's words for a command that is not there, or cannot be run.
            Some(126 | 127) => Err(io::Error::other("FFMPEG_PATH cannot be run").into()),
            // Its own words can repeat what the file says.
            code => Err(MediaError::Undecodable(format!("ffmpeg ended with {code:?}"))),
        }
    }
}

/// Deletes what processes have left that were killed: Lambda may keep the disk for the next one.
fn clean() {
    let entries = std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        if modified.and_then(|modified| modified.elapsed().ok()).is_some_and(|age| age > ABANDONED) {
            // Another process may have been faster.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The file on disk: a video does not fit in memory beside all else.
async fn save(file: &File, folder: &Path) -> Result<PathBuf, MediaError> {
    let path = folder.join("input");
    let mut saved = tokio::fs::File::create(&path).await?;
    match &file.content {
        Content::Inline(bytes) => saved.write_all(bytes).await?,
        Content::Stored(stored) => {
            let mut chunks = stored.chunks().await?;
            while let Some(chunk) = chunks.next().await {
                saved.write_all(&chunk?).await?;
            }
        }
    }
    saved.flush().await?;
    Ok(path)
}

/// A filter that makes pictures fit into a square, and never larger than they are.
fn fit(side: u32) -> String {
    format!("scale='min({side},iw)':'min({side},ih)':force_original_aspect_ratio=decrease")
}

/// Three of them, the first and the last among them.
fn spread(paths: &[PathBuf]) -> Vec<&PathBuf> {
    let last = paths.len().saturating_sub(1);
    let mut places: Vec<_> = (0..FRAMES).map(|part| part * last / (FRAMES - 1)).collect();
    places.dedup();
    places.into_iter().filter_map(|place| paths.get(place)).collect()
}

/// ffmpeg's name for the format of a media type that [`shared::http::Media`] knows.
fn format_of(media_type: &str) -> Option<&'static str> {
    Some(match media_type {
        "image/jpeg" => "jpeg_pipe",
        "image/png" => "png_pipe",
        "image/webp" => "webp_pipe",
        "image/gif" => "gif",
        "image/bmp" => "bmp_pipe",
        "image/tiff" => "tiff_pipe",
        "image/heif" | "image/avif" | "video/mp4" | "video/x-m4v" | "video/quicktime" => "mov",
        "video/webm" | "video/x-matroska" => "matroska",
        "video/mpeg" => "mpeg",
        "video/x-msvideo" => "avi",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use shared::http::Media;

    use super::*;

    #[test]
    fn every_type_that_is_taken_has_a_format() {
        for media_type in Media::Image.types().iter().chain(Media::Video.types()) {
            assert!(format_of(media_type).is_some(), "{media_type}");
        }
        assert_eq!(format_of("application/x-mpegurl"), None);
    }

    #[test]
    fn what_a_killed_process_left_is_deleted_and_what_is_in_use_is_not() {
        let (left, used) = (TempDir::with_prefix(PREFIX).unwrap(), TempDir::with_prefix(PREFIX).unwrap());
        std::fs::write(left.path().join("frame01.jpg"), "a face").unwrap();
        let long_ago = std::time::SystemTime::now() - ABANDONED * 2;
        std::fs::File::open(left.path()).unwrap().set_modified(long_ago).unwrap();
        clean();
        assert!(!left.path().exists() && used.path().exists());
    }

    #[test]
    fn frames_are_spread_over_what_there_is() {
        let of = |count: usize| {
            let paths: Vec<_> = (0..count).map(|place| PathBuf::from(place.to_string())).collect();
            spread(&paths).into_iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of(0), Vec::<String>::new());
        assert_eq!(of(1), ["0"]);
        assert_eq!(of(2), ["0", "1"]);
        assert_eq!(of(5), ["0", "2", "4"]);
        assert_eq!(of(10), ["0", "4", "9"]);
    }
}
