// Official documents: what stands in one, and what each sort is made of.
export interface Column {
  name: string
  kind: 'text' | 'number' | 'date'
  share: number
}
export type Block =
  | { type: 'heading'; level: number; text: string }
  | { type: 'paragraph'; text: string }
  | { type: 'fields'; rows: [string, string][] }
  | { type: 'table'; caption: string; columns: Column[]; rows: string[][] }
  | { type: 'page_break' }
export interface Content {
  issuer: string
  title: string
  addressee?: string
  blocks: Block[]
  notes?: string[]
}
/** As the server composes them (`GET /documents/sorts`). */
export const SORTS = { plan_evaluation: 'plan', accident_report: 'record', listed_notice: 'record', alarm_month: 'month', hidden_danger_month: 'month', circular: 'text' } as const
export type Sort = keyof typeof SORTS
const OF_REGISTER: Record<string, Sort> = { accident: 'accident_report', listed_supervision: 'listed_notice' }

/** The sort that is made of a record of this register. */
export const sortOf = (kind: string): Sort | undefined => OF_REGISTER[kind]
/** The register whose record a sort is about. */
export const registerOf = (sort: Sort): string | undefined => Object.keys(OF_REGISTER).find((kind) => OF_REGISTER[kind] === sort)
