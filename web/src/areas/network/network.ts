// Nodes as a page shows them: in the order of a tree, and in words that need no colour.
import type { NetNode, Proof } from '@/api/types'

/** A node and how deep it stands below the topmost. */
export interface Placed {
  id: string
  node: NetNode
  depth: number
}

/** The parent's side first, then this node, then what is below it, each under whom it is heard through. */
export function tree(nodes: readonly NetNode[]): Placed[] {
  const placed: Placed[] = []
  const put = (node: NetNode, depth: number) => placed.push({ id: node.id, node, depth })
  const byName = (a: NetNode, b: NetNode) => a.name.localeCompare(b.name, 'zh-CN') || a.id.localeCompare(b.id)
  const parent = nodes.find((n) => n.relation === 'parent')
  const own = nodes.find((n) => n.relation === 'self')
  const behind = (via: string) => nodes.filter((n) => n.relation === 'behind' && n.via === via).sort(byName)
  let depth = 0
  if (parent) {
    // What is heard through the parent stands above it.
    for (const node of behind(parent.id)) put(node, depth++)
    put(parent, depth++)
  }
  if (own) put(own, depth++)
  for (const child of nodes.filter((n) => n.relation === 'child').sort(byName)) {
    put(child, depth)
    for (const node of behind(child.id)) put(node, depth + 1)
  }
  // Heard through somebody who is no longer there: shown all the same.
  const seen = new Set(placed.map((p) => p.id))
  for (const node of nodes.filter((n) => !seen.has(n.id))) put(node, depth)
  return placed
}

export type NodeWord = 'own' | 'revoked' | 'frozen' | 'paused' | 'connected' | 'silent' | 'never' | 'behind'

/** The one thing that matters most about a node now. */
export function wordOf(node: NetNode): NodeWord {
  if (node.relation === 'self') return 'own'
  if (node.state === 'revoked') return 'revoked'
  if (node.state === 'frozen') return 'frozen'
  if (node.paused) return 'paused'
  if (node.relation === 'behind') return 'behind'
  if (node.connected) return 'connected'
  return node.seen_at ? 'silent' : 'never'
}

/** A sign beside each word: shape, not colour. */
export const SIGNS: Record<NodeWord, string> = { own: '◆', revoked: '✕', frozen: '⚠', paused: '‖', connected: '●', silent: '⚠', never: '○', behind: '·' }

/** What may be agreed of readings, the most first. */
export const READINGS = ['all', 'changes', 'minutes', 'alarms', 'none'] as const
export type Readings = (typeof READINGS)[number]

/** Which readings this node wants to go between it and a neighbour. */
export function wished(node: Pick<NetNode, 'agreement'>): Readings {
  return node.agreement?.readings ?? 'all'
}

/** Whether all holders have the same, as a word. */
export function equality(proof: Pick<Proof, 'equal'>): 'equal' | 'unequal' | 'unknown' {
  return proof.equal === null ? 'unknown' : proof.equal ? 'equal' : 'unequal'
}
export const EQUAL_SIGNS = { equal: '＝', unequal: '≠', unknown: '…' } as const

/** Whether the node above a holder had the same at the position the holder named. */
export function heldAbove(holder: Proof['holders'][number]): 'equal' | 'unequal' | 'unknown' {
  if (!holder.above) return 'unknown'
  return holder.above.count === holder.count && holder.above.sum === holder.sum ? 'equal' : 'unequal'
}

/** Until when all were compared: of the holder that was heard of least lately; `null` if nobody was compared. */
export function comparedAt(proof: Pick<Proof, 'holders'>): string | null {
  const times = proof.holders.filter((h) => h.above).map((h) => h.at)
  return times.length ? times.reduce((a, b) => (a < b ? a : b)) : null
}

/** Hexadecimal in groups of four, as people compare it. */
export function grouped(hex: string): string {
  return hex.match(/.{1,4}/g)?.join(' ') ?? hex
}
