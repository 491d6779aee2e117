// Orders (交办) as a page shows them: in words that need no colour, and what of a register's form can go to another node.
import type { OrderView } from '@/api/types'
import type { FormItem } from '@/areas/register/kind'
import type { Field, Register, Transition } from '@/areas/register/types'

/** Roles in which somebody gives orders; those that count where the order is carried out. */
export const REGULATORS = ['supervisor', 'inspector', 'leader'] as const
/** Roles in which somebody replies to a question from above. */
export const REPLY = ['supervisor', 'leader', 'safety_manager'] as const

export type OrderWord = 'sent' | 'arrived' | 'waiting' | 'done' | 'refused' | 'answered' | 'withdrawn' | 'withdrawing'

/** Where an order stands, as seen from here. */
export function orderWord(order: Pick<OrderView, 'state' | 'direction' | 'confirmed'>): OrderWord {
  switch (order.state) {
    case 'received':
      return order.direction === 'received' ? 'waiting' : 'arrived'
    case 'withdrawn':
      return order.confirmed || order.direction === 'received' ? 'withdrawn' : 'withdrawing'
    case 'done':
    case 'refused':
    case 'answered':
      return order.state
    default:
      return 'sent'
  }
}

/** A sign beside each word: shape, not colour. */
export const ORDER_SIGNS: Record<OrderWord, string> = { sent: '…', arrived: '→', waiting: '●', done: '✓', refused: '✕', answered: '✓', withdrawn: '○', withdrawing: '…' }

/** People, records and files are known at this node alone. */
const isLocal = (field: Field) => field.type === 'person' || field.type === 'record' || field.type === 'file'
/** What a form asks, as far as it can go to another node. */
export const sendable = (items: readonly FormItem[]): FormItem[] => items.filter((item) => !isLocal(item.field))
/** What it needs and cannot be sent: such a step is taken there, by people. */
export const unsendable = (items: readonly FormItem[]): FormItem[] => items.filter((item) => item.required && isLocal(item.field))
/** The steps from a state that somebody with these roles may order to be taken. */
export const stepsOf = (kind: Register, state: string, roles: readonly string[]): Transition[] =>
  kind.transitions.filter((t) => t.from.includes(state) && t.who.some((who) => (REGULATORS as readonly string[]).includes(who) && roles.includes(who)))
