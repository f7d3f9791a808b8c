/**
 * A bundle is a folder with what the server answers, as files under the same paths: metadata, director documents, blobs.
 * Nothing in it is trusted for being there.
 */

/** Where the answer to a path of the API lies below a bundle's folder; file systems of sticks know no ":". */
export function bundleFile(path: string): string {
  return path.replace(/^\/+/, "").replaceAll(":", "-");
}

/** Path of a device's director document. */
export function documentPath(device: string): string {
  return `/v1/devices/${encodeURIComponent(device)}/document`;
}
