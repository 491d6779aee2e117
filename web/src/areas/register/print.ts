// A record on paper: which blocks are printed, and what stands at the foot of every page.
// Pure. Start at [`printed`].
import { isEmpty } from './kind'
import type { Block, Fields, Register } from './types'

/** A register that says nothing of it: the filled fields in their order, tables by themselves, then the history. */
export function blocksOf(kind: Register): Block[] {
  if (kind.print.length) return kind.print
  const blocks: Block[] = []
  for (const f of kind.fields) {
    const last = blocks[blocks.length - 1]
    if (f.type === 'table') blocks.push({ type: 'table', words: [], fields: [f.id] })
    else if (last?.type === 'fields') last.fields.push(f.id)
    else blocks.push({ type: 'fields', words: [], fields: [f.id] })
  }
  if (kind.certificate) blocks.push({ type: 'certificate', words: [], fields: [] })
  blocks.push({ type: 'history', words: [], fields: [] })
  return blocks
}

/** Blocks with something in them: fields that are filled, the certificate while there is one. A part, from its heading to the next, of which no field is filled is left out whole. */
export function printed(kind: Register, fields: Fields, carries: boolean): Block[] {
  const parts: Block[][] = []
  for (const block of blocksOf(kind)) {
    if (block.type === 'heading' || !parts.length) parts.push([])
    parts[parts.length - 1]!.push(block)
  }
  const filled = (block: Block) => ({ ...block, fields: block.fields.filter((id) => !isEmpty(fields[id])) })
  const holds = (block: Block) => block.fields.length > 0
  return parts.flatMap((part) => {
    const asked = part.some(holds)
    const left = part.map(filled).filter((b, i) => (holds(part[i]!) ? holds(b) : b.type !== 'certificate' || carries))
    return asked && !left.some((b) => holds(b) || b.type === 'certificate' || b.type === 'history') ? [] : left
  })
}

const quoted = (text: string) => `"${text.replace(/[\\"\n]/g, (c) => `\\${c.charCodeAt(0).toString(16)} `)}"`

/** Paper and margins of GB/T 9704 (37, 35, 28, 26 mm), the page number between dashes and `foot` on every page, where the browser knows margin boxes. */
export const pageRule = (foot: string) => `@page {
  size: A4;
  margin: 37mm 26mm 35mm 28mm;
  @bottom-left { content: ${quoted(foot)}; font: 9pt sans-serif; vertical-align: top; padding-top: 7mm; white-space: pre; }
  @bottom-right { content: "— " counter(page) " —"; font: 14pt serif; vertical-align: top; padding-top: 5mm; }
}`
