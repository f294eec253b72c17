// Builds the package twice, as ES modules and as CommonJS, each with its types.
import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('.', import.meta.url));
const typescript = path.dirname(createRequire(import.meta.url).resolve('typescript/package.json'));

rmSync(path.join(root, 'dist'), { recursive: true, force: true });
for (const project of ['tsconfig.build.json', 'tsconfig.cjs.json']) {
  execFileSync(process.execPath, [path.join(typescript, 'lib/tsc.js'), '-p', project], { cwd: root, stdio: 'inherit' });
}
// Without it Node would take dist/cjs for ES modules, as the package's own package.json says.
writeFileSync(path.join(root, 'dist/cjs/package.json'), '{"type": "commonjs"}\n');
