// Routes. Every area is its own chunk; the URL holds filters and the selected id.
import { createRouter, createWebHistory } from 'vue-router'
import { useSession } from '@/areas/session/session'

declare module 'vue-router' {
  interface RouteMeta {
    /** Locale key of the page's title. */
    title: string
    /** No sign-in. */
    open?: boolean
    /** Without the frame of menus around it. */
    bare?: boolean
    permission?: string
  }
}

export const router = createRouter({
  history: createWebHistory('/'),
  routes: [
    // Never shown: where it leads depends on who is signed in, which is known only later.
    { path: '/', component: () => import('./NotFoundPage.vue'), meta: { title: 'product' } },
    { path: '/setup', component: () => import('@/areas/session/SetupPage.vue'), meta: { title: 'setup.title', open: true } },
    { path: '/sign-in', component: () => import('@/areas/session/SignInPage.vue'), meta: { title: 'signin.title', open: true } },
    { path: '/verify', component: () => import('@/areas/certificate/VerifyPage.vue'), meta: { title: 'certificate.verify', open: true } },
    { path: '/screen', component: () => import('@/areas/screen/ScreenPage.vue'), meta: { title: 'nav.screen' } },
    { path: '/alarms', component: () => import('@/areas/alarm/AlarmPage.vue'), meta: { title: 'nav.alarms' } },
    { path: '/monitor', component: () => import('@/areas/monitor/MonitorPage.vue'), meta: { title: 'nav.monitor' } },
    { path: '/vehicles', component: () => import('@/areas/vehicle/VehiclePage.vue'), meta: { title: 'nav.vehicles' } },
    { path: '/road', component: () => import('@/areas/vehicle/RoadPage.vue'), meta: { title: 'nav.road' } },
    { path: '/home', component: () => import('@/areas/home/HomePage.vue'), meta: { title: 'nav.home' } },
    { path: '/leaders', component: () => import('@/areas/leaders/LeadersPage.vue'), meta: { title: 'leaders.title' } },
    { path: '/tasks', component: () => import('@/areas/task/TaskPage.vue'), meta: { title: 'nav.tasks' } },
    { path: '/registers', component: () => import('@/areas/register/OverviewPage.vue'), meta: { title: 'nav.registers' } },
    { path: '/registers/:kind', component: () => import('@/areas/register/RegisterPage.vue'), meta: { title: 'nav.registers' } },
    { path: '/registers/:kind/:id', component: () => import('@/areas/register/RecordPage.vue'), meta: { title: 'nav.registers' } },
    { path: '/registers/:kind/:id/print', component: () => import('@/areas/register/PrintPage.vue'), meta: { title: 'print.title', bare: true } },
    { path: '/accidents/statistics', component: () => import('@/areas/accident/StatisticsPage.vue'), meta: { title: 'accident.statistics' } },
    { path: '/duty', component: () => import('@/areas/duty/DutyPage.vue'), meta: { title: 'nav.duty' } },
    { path: '/network', component: () => import('@/areas/network/NetworkPage.vue'), meta: { title: 'nav.network' } },
    { path: '/network/rates', component: () => import('@/areas/network/NetworkingPage.vue'), meta: { title: 'networking.title' } },
    { path: '/network/proofs', component: () => import('@/areas/network/ProofPage.vue'), meta: { title: 'network.proofs' } },
    { path: '/network/transfers', component: () => import('@/areas/network/TransferPage.vue'), meta: { title: 'transfer.title' } },
    { path: '/network/submissions', component: () => import('@/areas/network/SubmissionPage.vue'), meta: { title: 'submission.title' } },
    { path: '/network/orders', component: () => import('@/areas/network/OrderPage.vue'), meta: { title: 'nav.orders' } },
    { path: '/whistleblow/holders', component: () => import('@/areas/whistleblow/HoldersPage.vue'), meta: { title: 'holders.title' } },
    { path: '/documents/new', component: () => import('@/areas/document/ComposePage.vue'), meta: { title: 'document.compose' } },
    { path: '/responsibility', component: () => import('@/areas/responsibility/CoveragePage.vue'), meta: { title: 'responsibility.title' } },
    { path: '/responsibility/assessments', component: () => import('@/areas/responsibility/AssessmentListPage.vue'), meta: { title: 'assessment.title' } },
    { path: '/responsibility/assessments/:id', component: () => import('@/areas/responsibility/AssessmentPage.vue'), meta: { title: 'assessment.title' } },
    { path: '/plan', component: () => import('@/areas/plan/PlanPage.vue'), meta: { title: 'nav.plan' } },
    { path: '/plan/targets/:id', component: () => import('@/areas/plan/TargetPage.vue'), meta: { title: 'nav.plan' } },
    { path: '/plan/report', component: () => import('@/areas/plan/ReportPage.vue'), meta: { title: 'plan.report.open', bare: true } },
    { path: '/plan/indicators', component: () => import('@/areas/plan/IndicatorPage.vue'), meta: { title: 'plan.indicators' } },
    { path: '/plan/facts', component: () => import('@/areas/plan/FactPage.vue'), meta: { title: 'plan.facts' } },
    { path: '/plan/decisions', component: () => import('@/areas/plan/DecisionPage.vue'), meta: { title: 'plan.decisions' } },
    { path: '/plan/history', component: () => import('@/areas/plan/HistoryPage.vue'), meta: { title: 'plan.history' } },
    { path: '/enterprises', component: () => import('@/areas/enterprise/EnterpriseListPage.vue'), meta: { title: 'nav.enterprises' } },
    { path: '/enterprises/:id', component: () => import('@/areas/enterprise/EnterprisePage.vue'), meta: { title: 'nav.enterprises' } },
    { path: '/docs/api', component: () => import('@/areas/docs/ApiPage.vue'), meta: { title: 'nav.api' } },
    { path: '/admin', redirect: '/admin/devices' },
    { path: '/admin/:tab(users|devices|points|combinations|rules|audit|holds|retention|quarantine|events|packs|datasets)', component: () => import('@/areas/admin/AdminPage.vue'), meta: { title: 'nav.admin' } },
    { path: '/:rest(.*)*', component: () => import('./NotFoundPage.vue'), meta: { title: 'notfound.title' } },
  ],
})

router.beforeEach(async (to) => {
  const session = useSession()
  if (!session.loaded) {
    try {
      await session.load()
    } catch {
      // The server does not answer: the sign-in page says so and retries.
      if (!to.meta.open) return { path: '/sign-in', query: { next: to.fullPath } }
    }
  }
  if (!to.meta.open && !session.signedIn) return { path: '/sign-in', query: { next: to.fullPath } }
  if (to.path === '/') return session.home
  if (to.path === '/sign-in' && session.signedIn) return typeof to.query.next === 'string' && to.query.next.startsWith('/') ? to.query.next : session.home
  return true
})
