// Numbers as shown: enough digits to decide on, never a false zero.

/** A reading: at most six significant digits, no exponent for plant values; "—" for nothing. */
export function reading(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return '—'
  if (value === 0) return '0'
  const size = Math.abs(value)
  if (size >= 1e9 || size < 1e-4) return value.toExponential(3)
  if (size >= 1e5) return String(Math.round(value))
  return String(Number(value.toPrecision(6)))
}

/** A count with thousands separated by a comma; "—" for nothing. */
export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? '—' : value.toLocaleString('en-US')
}
