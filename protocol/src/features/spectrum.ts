// A small radix-2 FFT and the one-sided periodogram built on it. Iterative Cooley-Tukey; scaling as in
// scipy.signal.periodogram(window="hann", detrend="constant", scaling="density").

const twiddles = new Map<number, Float64Array>();

/** cos and sin of -2 pi k / n, interleaved, for k < n/2. */
function twiddlesOf(n: number): Float64Array {
  let table = twiddles.get(n);
  if (table === undefined) {
    table = new Float64Array(n);
    for (let k = 0; k < n / 2; k += 1) {
      table[2 * k] = Math.cos((-2 * Math.PI * k) / n);
      table[2 * k + 1] = Math.sin((-2 * Math.PI * k) / n);
    }
    twiddles.set(n, table);
  }
  return table;
}

/** In-place FFT of `re + i im`; the length must be a power of two. */
export function fft(re: Float64Array, im: Float64Array): void {
  const n = re.length;
  if ((n & (n - 1)) !== 0 || im.length !== n) throw new Error(`fft needs a power of two, got ${n}`);
  for (let i = 1, j = 0; i < n; i += 1) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j]!, re[i]!];
      [im[i], im[j]] = [im[j]!, im[i]!];
    }
  }
  const table = twiddlesOf(n);
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2;
    const stride = n / size;
    for (let start = 0; start < n; start += size) {
      for (let k = 0; k < half; k += 1) {
        const c = table[2 * k * stride]!;
        const s = table[2 * k * stride + 1]!;
        const a = start + k;
        const b = a + half;
        const xr = re[b]! * c - im[b]! * s;
        const xi = re[b]! * s + im[b]! * c;
        re[b] = re[a]! - xr;
        im[b] = im[a]! - xi;
        re[a]! += xr;
        im[a]! += xi;
      }
    }
  }
}

/** A one-sided power spectral density: `density[k]` is at `k * stepHz`, in channel unit squared per Hz. */
export interface Spectrum {
  readonly stepHz: number;
  readonly density: Float64Array;
}

/**
 * Periodogram of `n` equally spaced values (NaN = missing, taken as the mean), mean removed, Hann window, zero-padded
 * to a power of two.
 */
export function periodogram(values: Float64Array, n: number, rateHz: number): Spectrum {
  let size = 2;
  while (size < n) size *= 2;
  const re = new Float64Array(size);
  const im = new Float64Array(size);
  let sum = 0;
  let count = 0;
  for (let i = 0; i < n; i += 1) {
    const value = values[i]!;
    if (Number.isNaN(value)) continue;
    sum += value;
    count += 1;
  }
  const mean = count === 0 ? 0 : sum / count;
  let windowPower = 0;
  for (let i = 0; i < n; i += 1) {
    // The periodic Hann window, as scipy's.
    const w = 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / n);
    windowPower += w * w;
    const value = values[i]!;
    re[i] = Number.isNaN(value) ? 0 : (value - mean) * w;
  }
  fft(re, im);
  const density = new Float64Array(size / 2 + 1);
  const scale = windowPower > 0 ? 1 / (rateHz * windowPower) : 0;
  for (let k = 0; k <= size / 2; k += 1) {
    const power = (re[k]! * re[k]! + im[k]! * im[k]!) * scale;
    density[k] = k === 0 || k === size / 2 ? power : 2 * power;
  }
  return { stepHz: rateHz / size, density };
}
