// Where the console starts: styles, stores, words, routes, then the shell.
import 'element-plus/es/components/base/style/css'
import './theme/tokens.css'
import './theme/base.css'
import './theme/element.css'
import { createPinia } from 'pinia'
import { createApp } from 'vue'
import App from './app/App.vue'
import { i18n } from './app/i18n'
import { router } from './app/router'
import { plugSession } from './areas/session/session'

const app = createApp(App).use(createPinia()).use(i18n)
plugSession()
app.use(router).mount('#app')
