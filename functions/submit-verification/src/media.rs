//! Conversion of videos and photos to JPEG with ffmpeg. Each run of ffmpeg reads one local file and has limited time, memory and
//! disk space.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use shared::env::Env;
use shared::file::{Content, File, Unreadable};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Time limit of ffmpeg per file.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Limits of ffmpeg as `ulimit` takes them: address space in KiB, CPU time in s, file size in blocks of 512 B.
const LIMITS: &str = "ulimit -v 2000000; ulimit -t 20; ulimit -f 40000; exec \"$0\" \"$@\"";

/// The most pixels of a picture: 64 megapixels, as of high-resolution phone cameras. Decoded they take about 300 MB.
const MAX_PIXELS: &str = "64000000";

/// The most frames of a video that are compared.
pub const FRAMES: usize = 3;

/// Length of the decoded part of a video, in seconds. One frame is extracted per second.
const SECONDS: &str = "10";

/// The longest side of a photo, in pixels.
const PHOTO_SIDE: u32 = 2_048;

/// The longest side of a frame, in pixels. It is shorter than that of a photo, since faces are large in a selfie.
const FRAME_SIDE: u32 = 1_024;

/// Prefix of temporary folders.
const PREFIX: &str = "identivia-check-";

/// Age at which a temporary folder counts as abandoned. No request takes as long.
const ABANDONED: Duration = Duration::from_secs(120);

/// Failure to decode a file.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// ffmpeg cannot decode the file within its limits.
    #[error("cannot be decoded: {0}")]
    Undecodable(String),
    /// The file cannot be read from storage.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// ffmpeg or the disk failed.
    #[error("media: {0}")]
    Failed(#[from] io::Error),
}

/// Runs ffmpeg. Built once per execution environment.
pub struct Ffmpeg {
    path: PathBuf,
}

impl Ffmpeg {
    /// Reads `FFMPEG_PATH`; `/opt/bin/ffmpeg` by default, its path in the Lambda layer. A missing file is detected by the first
    /// request. Also deletes abandoned temporary folders.
    pub fn from_env(env: &Env) -> Self {
        delete_abandoned();
        Self { path: env.get("FFMPEG_PATH").unwrap_or("/opt/bin/ffmpeg").into() }
    }

    /// At most three frames of a video as JPEG, evenly spread over its first ten seconds.
    ///
    /// # Errors
    /// When the video has no frame or cannot be decoded or read, or ffmpeg or the disk fails.
    pub async fn frames(&self, video: &File) -> Result<Vec<Bytes>, MediaError> {
        delete_abandoned();
        let folder = TempDir::with_prefix(PREFIX)?;
        let input = save(video, folder.path()).await?;
        // With rounding up, a video of less than a second has a frame as well.
        let filter = format!("fps=1:round=up,{}", fit(FRAME_SIDE));
        let output = ["-map", "0:v:0", "-t", SECONDS, "-vf", &filter, "-frames:v", SECONDS, "-f", "image2"];
        self.run(video.file_type.media_type, &input, &output, &folder.path().join("frame%02d.jpg")).await?;
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

    /// A photo as JPEG of at most 2,048 pixels per side, without metadata.
    ///
    /// # Errors
    /// When the photo cannot be decoded or read, or ffmpeg or the disk fails.
    pub async fn photo(&self, photo: &File) -> Result<Bytes, MediaError> {
        let folder = TempDir::with_prefix(PREFIX)?;
        let input = save(photo, folder.path()).await?;
        let path = folder.path().join("photo.jpg");
        let one = ["-frames:v", "1", "-f", "image2", "-update", "1"];
        // Phones store HEIC photos as tiles, which ffmpeg presents as a stream group. A HEIC photo without tiles has no group.
        let fit = fit(PHOTO_SIDE);
        let group = format!("[0:g:0]{fit}[picture]");
        let whole = [&["-filter_complex", &group, "-map", "[picture]"][..], &one].concat();
        let plain = [&["-map", "0:v:0", "-vf", &fit][..], &one].concat();
        let is_group = photo.file_type.media_type == "image/heif"
            && self.run(photo.file_type.media_type, &input, &whole, &path).await.is_ok();
        if !is_group {
            self.run(photo.file_type.media_type, &input, &plain, &path).await?;
        }
        match tokio::fs::read(path).await {
            Ok(bytes) if !bytes.is_empty() => Ok(bytes.into()),
            _ => Err(MediaError::Undecodable("no picture".to_owned())),
        }
    }

    /// Runs ffmpeg on one file, with limits.
    async fn run(&self, media_type: &str, input: &Path, how: &[&str], output: &Path) -> Result<(), MediaError> {
        let format = format_of(media_type).ok_or_else(|| MediaError::Undecodable("an unknown type".to_owned()))?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", LIMITS]).arg(&self.path);
        command.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-threads", "2"]);
        // The detected format is given, so that ffmpeg does not read a playlist or script as a video. Only local files are allowed,
        // so that ffmpeg fetches nothing.
        command.args(["-protocol_whitelist", "file", "-max_pixels", MAX_PIXELS, "-f", format, "-i"]);
        command.arg(format!("file:{}", input.display()));
        command.args(["-map_metadata", "-1", "-pix_fmt", "yuvj420p", "-q:v", "3", "-threads", "2"]);
        command.args(how).arg("-y").arg(output);
        // ffmpeg gets no environment variables, which include secrets.
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let ended = match tokio::time::timeout(TIMEOUT, command.output()).await {
            Ok(ended) => ended?,
            Err(_) => return Err(MediaError::Undecodable(format!("not done in {} s", TIMEOUT.as_secs()))),
        };
        match ended.status.code() {
            Some(0) => Ok(()),
            // The shell's exit codes for a command that is missing or not executable.
            Some(126 | 127) => Err(io::Error::other("FFMPEG_PATH cannot be run").into()),
            // ffmpeg's messages can repeat metadata of the file.
            code => Err(MediaError::Undecodable(format!("ffmpeg ended with {code:?}"))),
        }
    }
}

/// Deletes temporary folders of killed processes. Lambda may keep the disk for the next process.
fn delete_abandoned() {
    let entries = std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        if modified.and_then(|modified| modified.elapsed().ok()).is_some_and(|age| age > ABANDONED) {
            // A concurrent process may have deleted the folder.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Saves a file to disk, since a video does not fit into the function's memory.
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

/// ffmpeg filter that shrinks a picture to fit into a square.
fn fit(side: u32) -> String {
    format!("scale='min({side},iw)':'min({side},ih)':force_original_aspect_ratio=decrease")
}

/// At most three evenly spread paths, including the first and the last.
fn spread(paths: &[PathBuf]) -> Vec<&PathBuf> {
    let last = paths.len().saturating_sub(1);
    let mut places: Vec<_> = (0..FRAMES).map(|part| part * last / (FRAMES - 1)).collect();
    places.dedup();
    places.into_iter().filter_map(|place| paths.get(place)).collect()
}

/// ffmpeg's format name for a media type of [`shared::file::Media`].
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
    use shared::file::Media;

    use super::*;

    #[test]
    fn every_accepted_type_has_a_format() {
        for media_type in Media::Image.types().iter().chain(Media::Video.types()) {
            assert!(format_of(media_type).is_some(), "{media_type}");
        }
        assert_eq!(format_of("application/x-mpegurl"), None);
    }

    #[test]
    fn abandoned_folders_are_deleted_and_used_ones_are_not() {
        let (left, used) = (TempDir::with_prefix(PREFIX).unwrap(), TempDir::with_prefix(PREFIX).unwrap());
        std::fs::write(left.path().join("frame01.jpg"), "a face").unwrap();
        let long_ago = std::time::SystemTime::now() - ABANDONED * 2;
        std::fs::File::open(left.path()).unwrap().set_modified(long_ago).unwrap();
        delete_abandoned();
        assert!(!left.path().exists() && used.path().exists());
    }

    #[test]
    fn frames_are_spread_evenly() {
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
