import { writeFileSync } from 'node:fs';
import Mocha from 'mocha';

/**
 * mocha's `spec` reporter, which also writes `{"passes":N,"failures":N,"pending":N}` to the file that the reporter
 * option `summary` or the variable SIGNET_TEST_SUMMARY names, if one does.
 */
class SummaryReporter extends Mocha.reporters.Spec {
  constructor(runner: Mocha.Runner, options: Mocha.MochaOptions) {
    super(runner, options);
    const path = options.reporterOptions?.summary ?? process.env.SIGNET_TEST_SUMMARY;
    runner.once(Mocha.Runner.constants.EVENT_RUN_END, () => {
      const { passes, failures, pending } = this.stats;
      if (path) writeFileSync(path, `${JSON.stringify({ passes, failures, pending })}\n`);
    });
  }
}

// mocha loads a reporter with require(), which takes the export of this name for the module itself.
export { SummaryReporter as 'module.exports' };
