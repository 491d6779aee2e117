// A number typed by a person: empty is none, a full-width or comma mistake is said, not guessed.
export function parseNumber(text: string): number | null | 'wrong' {
  const trimmed = text.trim()
  if (!trimmed) return null
  if (!/^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/.test(trimmed)) return 'wrong'
  const value = Number(trimmed)
  return Number.isFinite(value) ? value : 'wrong'
}
